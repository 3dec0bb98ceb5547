// Calls the API; errors have a message for display.

/** A failed request; `status` is 0 without a response, `wait` the seconds after which to retry. */
export class RequestError extends Error {
  constructor(message, status, wait = 0) {
    super(message);
    this.status = status;
    this.wait = wait;
  }
}

async function requestError(response) {
  const wait = Number(response.headers.get("Retry-After")) || 0;
  let detail = "";
  try {
    detail = (await response.json()).detail;
  } catch {
    // The response is not from the API but from a proxy.
  }
  return new RequestError(detail || `The server answered ${response.status} ${response.statusText}.`, response.status, wait);
}

async function fetchJSON(url, options) {
  let response;
  try {
    response = await fetch(url, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new RequestError("The server cannot be reached.", 0);
  }
  // 422 has the same body as 200: no row was scored, and each has an error.
  if (!response.ok && response.status !== 422) throw await requestError(response);
  return response.json();
}

/** Predicts `records`; throws RequestError, or AbortError if `signal` is aborted. */
export function predict(url, records, signal) {
  const headers = { "Content-Type": "application/json" };
  return fetchJSON(url, { method: "POST", headers, body: JSON.stringify(records), signal });
}

/** Returns a synthetic record. */
export async function sample(url, seed) {
  return (await fetchJSON(`${url}?n=1&seed=${seed}`, {}))[0];
}
