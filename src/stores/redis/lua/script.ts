import { ALGORITHMS } from './algorithm.lua.js';
import { BUCKET_STATE } from './bucket-state.lua.js';
import { EXECUTE } from './execute.lua.js';
import { FAST_PATH } from './fast-path.lua.js';
import { INPUT } from './input.lua.js';
import { MARKS } from './marks.lua.js';
import { QUEUE } from './queue.lua.js';
import { REPLACE } from './replace.lua.js';
import { SLIDING_WINDOW, WINDOW_CONSTANTS } from './sliding-window.lua.js';
import { STORED_STATE } from './stored-state.lua.js';
import { TOKEN_BUCKET } from './token-bucket.lua.js';

/**
 * The script that decides in Redis: the Lua twin of `core/`, file by file with the same names in the same order; see
 * there for the reasons. Strings and not files, so that bundlers include them. Change both twins in one commit.
 */
export const SCRIPT = [
  INPUT,
  WINDOW_CONSTANTS,
  FAST_PATH,
  ALGORITHMS,
  TOKEN_BUCKET,
  SLIDING_WINDOW,
  QUEUE,
  MARKS,
  BUCKET_STATE,
  STORED_STATE,
  REPLACE,
  EXECUTE,
].join('');
