// Requests to the public API: JSON, problems, uploads with progress, server-sent events, the key.
const BASE = new URL('../', document.baseURI);
const KEY = 'isslim-key';

export const address = (path) => new URL(path.replace(/^\//, ''), BASE).href;
// The address of a screen, and of a request, with whatever letters a name has.
const joined = (parts) => parts.map(encodeURIComponent).join('/');
export const screen = (...parts) => `#/${joined(parts)}`;
export const route = (...parts) => `/${joined(parts)}`;
export const origin = () => BASE.href.replace(/\/$/, '');

// Kept for this tab alone, and sent as a header: there is no cookie, so no other site can use it.
export const key = {
  get: () => sessionStorage.getItem(KEY) || '',
  set: (value) => (value ? sessionStorage.setItem(KEY, value) : sessionStorage.removeItem(KEY)),
};
export const asks = new EventTarget(); // `key`: an answer was 401; `given`: there is another key now

export class Refusal extends Error {
  constructor(status, found, after) {
    const detail = found.detail || found.title || (found.error && (found.error.message || found.error));
    super(typeof detail === 'string' ? detail : `HTTP ${status}`);
    this.status = status;
    this.title = found.title || `HTTP ${status}`;
    this.type = found.type || '';
    this.errors = found.errors || [];
    this.requestId = found.request_id;
    this.after = after; // seconds
  }
}

function headers(more) {
  const held = key.get();
  return held ? { ...more, authorization: `Bearer ${held}` } : { ...more };
}

async function refused(response) {
  if (response.status === 401) asks.dispatchEvent(new Event('key'));
  let found = {};
  try {
    found = await response.json();
  } catch {
    /* a proxy's page */
  }
  return new Refusal(response.status, found, response.headers.get('retry-after'));
}

async function send(method, path, { json, body = JSON.stringify(json), accept, signal, more } = {}) {
  const sent = headers({ accept: accept || 'application/json', ...more });
  if (body) sent['content-type'] = 'application/json';
  const response = await fetch(address(path), {
    method,
    headers: sent,
    signal,
    body,
    credentials: 'omit',
  });
  if (!response.ok) throw await refused(response);
  return response;
}

export const get = async (path) => (await send('GET', path)).json();
const sending = (method) => async (path, json, options) =>
  (await send(method, path, { json, ...options })).json();
export const [post, put] = [sending('POST'), sending('PUT')];
export const remove = (path) => send('DELETE', path);
const raw = (path) => send('GET', path, { accept: '*/*' });
export const text = async (path) => (await raw(path)).text();
export const download = async (path) => (await raw(path)).arrayBuffer();

let known = null;
// Kinds of models with their metrics; asked for once.
export function kinds() {
  known ||= get('/kinds').catch((problem) => {
    known = null;
    throw problem;
  });
  return known;
}

// A form with files; `progress` hears of the share that was sent, which `fetch` does not say.
export function upload(path, form, progress) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open('POST', address(path));
    for (const [name, value] of Object.entries(headers({ accept: 'application/json' }))) {
      request.setRequestHeader(name, value);
    }
    request.upload.onprogress = (event) => event.lengthComputable && progress(event.loaded / event.total);
    request.onerror = () => reject(new TypeError('network'));
    request.onload = () => {
      const after = request.getResponseHeader('retry-after') || '';
      const { status } = request;
      const response = new Response(request.response, { status, headers: { 'retry-after': after } });
      if (response.ok) resolve(response.json());
      else refused(response).then(reject);
    };
    request.send(form);
  });
}

// Reads events until the stream ends: `heard(name, data, id)`. EventSource would send no key.
// A connection that is dead and does not know it says nothing: not even what keeps one alive.
export async function stream(method, path, { json, signal, lastId, silence, opened }, heard) {
  const more = lastId ? { 'last-event-id': lastId } : {};
  const response = await send(method, path, { json, signal, accept: 'text/event-stream', more });
  if (opened) opened();
  if (response.status === 204) return;
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  for (let rest = ''; ;) {
    let timer;
    const late = new Promise((_, fail) => {
      const give = () => {
        fail(new TypeError());
        reader.cancel();
      };
      timer = silence && setTimeout(give, 1000 * silence);
    });
    const { done, value } = await Promise.race([reader.read(), late]).finally(() => clearTimeout(timer));
    if (done) return;
    const blocks = (rest + value).split('\n\n');
    rest = blocks.pop();
    for (const block of blocks) {
      const event = {};
      for (const line of block.split('\n')) {
        const found = /^(event|data|id): ?(.*)$/.exec(line);
        if (found) event[found[1]] = (event[found[1]] ?? '') + found[2];
      }
      if (event.data) heard(event.event || 'message', JSON.parse(event.data), event.id);
    }
  }
}

export const isActive = ({ state }) => state === 'queued' || state === 'running';

// Seconds; the service says something every five.
const SILENCE = 15;

// Follows a job to its end, whatever happens to the connection or the service on the way.
export function followJob(id, heard, lost) {
  const ended = new AbortController();
  (async () => {
    for (let lastId = '', active = true; active && !ended.signal.aborted;) {
      try {
        await stream(
          'GET',
          route('jobs', id, 'events'),
          // Where nothing has changed, nothing is said.
          { signal: ended.signal, lastId, silence: SILENCE, opened: () => lost(null) },
          (_, job, eventId) => {
            lastId = eventId;
            active = isActive(job);
            heard(job);
          },
        );
      } catch (problem) {
        if (ended.signal.aborted) return;
        if (problem instanceof Refusal && problem.status < 500 && !problem.after) {
          lost(problem, true);
          return;
        }
        lost(problem, false);
      }
      if (active) await new Promise((resume) => setTimeout(resume, 700));
    }
  })();
  return () => ended.abort();
}

// Saves a file that needs the key, which a plain link would not send.
export async function save(path, name) {
  const blob = new Blob([await download(path)]);
  const link = document.createElement('a');
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}
