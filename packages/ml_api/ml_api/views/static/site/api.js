// Asks the API, and says in words what went wrong.

/** What went wrong, in a sentence; `status` is 0 where nothing answered, `wait` the seconds after which to try again. */
export class Trouble extends Error {
  constructor(message, status, wait = 0) {
    super(message);
    this.status = status;
    this.wait = wait;
  }
}

async function told(response) {
  const wait = Number(response.headers.get("Retry-After")) || 0;
  let detail = "";
  try {
    detail = (await response.json()).detail;
  } catch {
    // Something between here and the API has answered.
  }
  return new Trouble(detail || `The server answered ${response.status} ${response.statusText}.`, response.status, wait);
}

async function ask(url, options) {
  let response;
  try {
    response = await fetch(url, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Trouble("The server cannot be reached.", 0);
  }
  // 422 is an answer: no row was scored, and it says why of each.
  if (!response.ok && response.status !== 422) throw await told(response);
  return response.json();
}

/** The answer for `records`; throws Trouble, or AbortError if `signal` says so. */
export function predict(url, records, signal) {
  const headers = { "Content-Type": "application/json" };
  return ask(url, { method: "POST", headers, body: JSON.stringify(records), signal });
}

/** A made-up record. */
export async function sample(url, seed) {
  return (await ask(`${url}?n=1&seed=${seed}`, {}))[0];
}
