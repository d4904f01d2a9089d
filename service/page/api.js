// The API of the service this page came from.

/** Keys by scope, forgotten with the tab; an admin key lets a variant be named. */
export const keys = {
  get: (scope) => sessionStorage.getItem(`radsearch-${scope}-key`) ?? "",
  set: (scope, value) => (value ? sessionStorage.setItem(`radsearch-${scope}-key`, value) : sessionStorage.removeItem(`radsearch-${scope}-key`)),
};

/** A request that failed, in words for the person who meets it. */
export class ApiError extends Error {
  constructor(title, detail, { status = 0, kind = "", errors = [], requestId = "", retryAfter = 0 } = {}) {
    super(detail);
    Object.assign(this, { title, status, kind, errors, requestId, retryAfter });
  }

  get needsKey() {
    return this.status === 401 || this.status === 403;
  }
}

async function call(path, { body, signal, forced } = {}) {
  const sent = forced ? { "X-Radsearch-Variant": forced } : {};
  const key = (forced && keys.get("admin")) || keys.get("search");
  if (key) sent.Authorization = `Bearer ${key}`;
  if (body) sent["Content-Type"] = "application/json";
  let response, answer;
  try {
    response = await fetch(path, { method: body ? "POST" : "GET", headers: sent, body: body && JSON.stringify(body), signal });
    performance.clearMarks(path);
    performance.mark(path); // the response is there, its body not yet read
    answer = await response.json();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    if (!response) throw new ApiError("No answer", "The server cannot be reached; it may be stopped, or the network is away.");
    throw new ApiError("Not from radsearch", `The answer to ${path} is no JSON (HTTP ${response.status}).`, { status: response.status });
  }
  if (response.ok) return answer;
  throw new ApiError(answer.title ?? `HTTP ${response.status}`, answer.detail ?? "The server says no more.", {
    status: response.status,
    kind: (answer.type ?? "").split(":").pop(),
    errors: answer.errors ?? [],
    requestId: answer.request_id ?? "",
    retryAfter: Number(response.headers.get("Retry-After")) || 0,
  });
}

/** Search; `variant` names who shall answer, "" leaves it to the experiment. */
export function search({ query, k, beam, filters, explain, variant, ordering }, signal) {
  const body = { query, k };
  if (beam) body.beam_width = beam;
  if (Object.keys(filters).length) body.filters = filters;
  if (explain) body.explain = true;
  if (ordering) body.ordering = ordering;
  return call("/v1/search", { body, signal, forced: variant });
}

const withVariant = (path, variant, more = {}) => {
  const query = new URLSearchParams(more);
  if (variant) query.set("variant", variant);
  return query.size ? `${path}?${query}` : path;
};

export const titles = (prefixes, variant, signal) => call("/v1/sids/titles", { body: { prefixes, variant }, signal });
export const sids = (prefix, variant, signal) => call(withVariant("/v1/sids", variant, { prefix }), { signal });
export const sidReport = (variant, signal) => call(withVariant("/v1/sids/report", variant), { signal });

let asked = new Map();

/** What does not change while the page is open is asked for once, and again with another key. */
function once(path) {
  if (!asked.has(path)) {
    const answer = call(path);
    asked.set(path, answer);
    answer.catch(() => asked.delete(path));
  }
  return asked.get(path);
}

export const models = () => once("/v1/models");
export const attributes = (variant) => once(withVariant("/v1/attributes", variant));
export const forget = () => void (asked = new Map());
