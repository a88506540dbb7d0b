/**
 * Under which names the tables of this host are found.
 *
 * @module
 */

/**
 * This host, as Node names it; for code that has to run where nothing native can be loaded. It may
 * be one that there is no table for.
 */
export const THIS_HOST: { readonly os: string; readonly arch: string } = {
  os: process.platform,
  arch: process.arch,
};
