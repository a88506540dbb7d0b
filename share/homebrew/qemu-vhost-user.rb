# frozen_string_literal: true

# QEMU with the vhost-user devices, which its configure script switches off everywhere but on Linux:
#
#   brew install --build-from-source ./qemu-vhost-user.rb
#
# It stands beside Homebrew's own qemu, and out of its way. Its authors have no Mac and never ran it; docs/macos.md says
# what of it was tried on Linux.
class QemuVhostUser < Formula
  desc "Machine emulator with vhost-user devices"
  homepage "https://www.qemu.org/"
  url "https://download.qemu.org/qemu-10.2.0.tar.xz"
  sha256 "9e30ad1b8b9f7b4463001582d1ab297f39cfccea5d08540c0ca6d6672785883a"
  license "GPL-2.0-only"
  head "https://gitlab.com/qemu-project/qemu.git", branch: "master"

  keg_only "it is to be beside the qemu of Homebrew"

  depends_on "libtool" => :build
  depends_on "meson" => :build
  depends_on "ninja" => :build
  depends_on "pkgconf" => :build
  depends_on "python@3.14" => :build

  depends_on "dtc"
  depends_on "glib"
  depends_on "gnutls"
  depends_on "libslirp"
  depends_on "pixman"
  depends_on "zstd"

  uses_from_macos "bison" => :build
  uses_from_macos "flex" => :build

  VHOST_USER = "hw/virtio/vhost-user.c"
  # QEMU 11 kicks each ring when it starts, by a write to the descriptor that it has sent: on Linux an eventfd,
  # elsewhere the end of a pipe that can only be read (EBADF), and no device starts.
  KICK = /(?<!\w)write\(file->fd,/
  WRITE_END = <<~C
    /* The end to be written of the pipe that is an event notifier where there is no eventfd. */
    static int vhost_user_kick_wfd(struct vhost_dev *dev, int index)
    {
        VirtQueue *vq = virtio_get_queue(dev->vdev, index);

        return event_notifier_get_wfd(virtio_queue_get_host_notifier(vq));
    }

  C
  SET_KICK = /^static int vhost_user_set_vring_kick\(/

  # Writes the kick of QEMU 11 into the right end; nothing is to be mended where there is no such kick.
  def self.mend_kick(source)
    return source unless source.match?(KICK)

    source.sub(SET_KICK) { |start| WRITE_END + start }
          .gsub(KICK, "write(vhost_user_kick_wfd(dev, file->index),")
  end

  def install
    ENV["LIBTOOL"] = "glibtool"
    mended = self.class.mend_kick(File.read(VHOST_USER))
    File.write(VHOST_USER, mended)

    rm(Dir["python/wheels/*"] - Dir["python/wheels/pycotap-*-none-any.whl"])
    args = %W[
      --prefix=#{prefix}
      --cc=#{ENV.cc}
      --host-cc=#{ENV.cc}
      --target-list=aarch64-softmmu,x86_64-softmmu
      --enable-vhost-user
      --enable-slirp
      --enable-zstd
      --enable-fdt=system
      --disable-download
      --disable-guest-agent
      --disable-gtk
      --disable-sdl
    ]
    args += ["--enable-cocoa", "--enable-hvf"] if OS.mac?

    system "./configure", *args
    system "make", "install"
  end

  test do
    %w[aarch64 x86_64].each do |machine|
      devices = shell_output("#{bin}/qemu-system-#{machine} -machine none -device help 2>&1")
      %w[fs rng vsock].each { |device| assert_match "vhost-user-#{device}-pci", devices }
    end
  end
end
