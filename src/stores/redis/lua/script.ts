import { ALGORITHMS } from './algorithm.lua.js';
import { BUCKET_STATE } from './bucket-state.lua.js';
import { CALENDAR } from './calendar.lua.js';
import { CONCURRENCY_LIMIT } from './concurrency.lua.js';
import { CHANGE_SLOTS_FAST, CONCURRENCY_FAST_PATH } from './concurrency-fast-path.lua.js';
import { EXECUTE } from './execute.lua.js';
import { FAST_PATH, TAKE_FAST } from './fast-path.lua.js';
import { INPUT } from './input.lua.js';
import { MARKS } from './marks.lua.js';
import { QUEUE } from './queue.lua.js';
import { REPLACE } from './replace.lua.js';
import { REQUESTS } from './requests.lua.js';
import { SCALES } from './scales.lua.js';
import { SLIDING_WINDOW } from './sliding-window.lua.js';
import { SLOTS } from './slots.lua.js';
import { SOFT_LIMITS } from './soft.lua.js';
import { STORED_STATE } from './stored-state.lua.js';
import { TOKEN_BUCKET } from './token-bucket.lua.js';

/** The twin of `core/`, file by file with the same names in the same order; see there for the reasons. */
const DECISION = [
  TOKEN_BUCKET,
  SLIDING_WINDOW,
  CALENDAR,
  CONCURRENCY_LIMIT,
  SOFT_LIMITS,
  QUEUE,
  MARKS,
  SCALES,
  BUCKET_STATE,
  STORED_STATE,
  REPLACE,
  SLOTS,
  EXECUTE,
].join('');

/**
 * The general path. It is defined in two functions, because a variable of an outer one is captured at once, while Lua
 * searches for one of the same function: what most functions use is in the outer one.
 */
const GENERAL_PATH = `
${REQUESTS}
${ALGORITHMS}
local function defineDecision()
  ${DECISION}
end
return defineDecision()
`;

/**
 * The script that decides in Redis. Strings and not files, so that bundlers include them. Change both twins in one
 * commit.
 *
 * Lua runs the whole script for each call, definitions too. Those of the general path take longer than a decision, so
 * the first request that needs them makes them.
 */
export const SCRIPT = `
${INPUT}
${FAST_PATH}
${CONCURRENCY_FAST_PATH}
local step, finish
while left do
  local row, stop = nil, place + 7
  ${TAKE_FAST}
  ${CHANGE_SLOTS_FAST}
  if row then
    nextKey = nextKey + 1
  else
    if not step then
      local function define()
        ${GENERAL_PATH}
      end
      step, finish = define()
    end
    row, stop = step()
  end
  rows[#rows + 1] = row
  left = left - 1
  if left == 0 then place, left = stop, input[stop + 1] end
end
if finish then return finish() end
return rows[2] and table.concat(rows) or rows[1]
`;
