/**
 * Gives fast-check the seed of the whole run, so that a run can be repeated.
 *
 * @module
 */
import fc from 'fast-check';

const seed = Number(process.env.VHOST_USER_TEST_SEED ?? Number.NaN);
if (Number.isInteger(seed)) fc.configureGlobal({ ...fc.readConfigureGlobal(), seed });
