/**
 * Imported before anything of the product: front-ends of this process use pipes and shm_open, as
 * those of macOS do.
 *
 * @module
 */
process.env.VHOST_USER_HOST = 'posix';
