// From files to a job: sorted, inspected within seconds, and started with one budget.
import {
  html,
  download,
  isActive,
  List,
  route,
  screen,
  useRef,
  useState,
  W,
  Table,
  count,
  short,
  origin,
  Copy,
  useEffect,
  get,
  kinds as knownKinds,
  upload,
  Bar,
  Problem,
  useKey,
  useLoaded,
  useTitle,
  bytes,
  percent,
} from '../page.js';

// A place to drop files, or to choose them: they are kept until the screen that takes them is there.
let dropped = [[]];
const pass = (...files) => {
  dropped = files;
  location.hash = '#/compress';
};

export function Drop({ take = pass }) {
  const [over, setOver] = useState(false);
  const field = useRef();
  const accept = (files) => {
    if (files.length) take([...files]);
  };
  const drop = (event) => {
    event.preventDefault();
    setOver(false);
    accept(event.dataTransfer.files);
  };
  return html`<div class=${`drop ${over ? 'over' : ''}`} onDragOver=${(event) => {
    event.preventDefault();
    setOver(true);
  }}
      onDragLeave=${() => setOver(false)} onDrop=${drop}>
    <p><b>${W.drop.title}</b></p><p class="muted small">${W.drop.text}</p>
    <p><label class="button">${W.drop.choose}<input class="unseen" ref=${field} type="file" multiple
      onChange=${(event) => {
        accept(event.target.files);
        event.target.value = '';
      }} /></label></p></div>`;
}

// Where there are no files yet: what is taken, and an example whose files are as if dropped.
const EXAMPLE = ['model.safetensors', 'words.txt', 'calibration.txt', 'held-out.txt'];

export function Empty({ take = pass }) {
  const [state, setState] = useState({});
  const begin = async () => {
    setState({ busy: true });
    try {
      const files = EXAMPLE.map(async (name) => new File([await download(`/ui/example/${name}`)], name));
      take(await Promise.all(files), { name: 'example', minutes: 0.5 });
    } catch (problem) {
      setState({ problem });
    }
  };
  return html`<div class="columns">
    <section><h2>${W.empty.own}</h2><ul>${W.empty.accepted.map((each) => html`<li>${each}</li>`)}</ul></section>
    <section><h2>${W.empty.example}</h2><p>${W.empty.exampleText}</p>
      <p><button class="primary" disabled=${state.busy} onClick=${begin}>${W.empty.begin}</button></p>
      <${Problem} problem=${state.problem} />
      <p class="muted small">${W.empty.demo} <code>isslim demo</code></p></section></div>`;
}

// Which field of the form a dropped file belongs in, by its name and its first bytes.
const PEEK = 65536;
const NAMED = [
  [/vocab|^words|tokenizer|^tokens/, 'vocabulary'],
  [/^char/, 'characters'],
  [/^check/, 'check'],
  [/held|valid|dev|test|eval/, 'held_out'],
  [/calib/, 'calibration'],
  [/train/, 'calibration'],
];
const byName = (name) => (NAMED.find(([pattern]) => pattern.test(name)) || [])[1];

// A list of words has one on every line, and none twice.
function looksLikeWords(text) {
  const lines = text.split('\n').slice(0, -1).filter(Boolean);
  return (
    lines.length > 3 &&
    lines.every((each) => !/\s/.test(each.trim())) &&
    new Set(lines).size > 0.98 * lines.length
  );
}

async function ofText(file, name) {
  const start = await file.slice(0, PEEK).text();
  if (start.includes('\0')) return ''; // no text
  if (looksLikeWords(start)) {
    const single = start
      .split('\n')
      .filter(Boolean)
      .every((each) => Array.from(each).length === 1);
    return single && /char|letter/.test(name) ? 'characters' : 'vocabulary';
  }
  const named = byName(name);
  return named === 'vocabulary' ? undefined : named;
}

async function ofJson(file, name) {
  const start = (await file.slice(0, PEEK).text()).trimStart();
  if (/"(paragraphs|context|question)"\s*:/.test(start)) return byName(name);
  if (
    start.startsWith('[') ||
    /^\{\s*"(version|model|added_tokens|truncation)"/.test(start) ||
    /vocab|words|tokenizer/.test(name)
  )
    return 'vocabulary';
  return 'config';
}

async function fieldOf(file) {
  const name = file.name.toLowerCase();
  if (/\.onnx[._]?data$|\.data$/.test(name)) return 'model_data';
  if (/\.(pt|pth|bin|ckpt|safetensors)$/.test(name)) return 'model';
  if (/\.onnx$/.test(name)) return 'graph';
  if (/\.npy$/.test(name)) return 'vectors';
  if (/\.npz$/.test(name)) return byName(name) || 'data';
  if (/\.json$/.test(name)) return (await ofJson(file, name)) || 'data';
  return (await ofText(file, name)) ?? 'data';
}

// Files with their fields; each field is given once, and what has no place of its own is data.
export async function sorted(files) {
  const found = await Promise.all(files.map(async (file) => ({ file, field: await fieldOf(file) })));
  const taken = new Set();
  const weights = found.some((each) => each.field === 'model');
  for (const each of found) {
    if (each.field === 'graph') each.field = weights ? 'check_graph' : 'model';
    if (!each.field || each.field === 'data') continue;
    if (taken.has(each.field)) each.field = 'data';
    taken.add(each.field);
  }
  // The larger text is what is learned from, the smaller what is held out.
  const data = found.filter((each) => each.field === 'data').sort((a, b) => b.file.size - a.file.size);
  for (const each of data) {
    each.field = ['calibration', 'held_out', 'train', ''].find((field) => !taken.has(field));
    taken.add(each.field);
  }
  return found;
}

// The kind that the files suggest, for the words of its budget until an inspection has said it.
function suggestedKind(entries) {
  const model = entries.find((each) => each.field === 'model');
  if (model && /\.onnx$/i.test(model.file.name)) return 'graph';
  return entries.some((each) => each.field === 'vectors') ? 'question-answering' : 'language-model';
}

// What was understood of an upload, before or while it is compressed.
export function Understood({ found, kinds }) {
  const kind = (kinds || []).find((each) => each.name === found.kind);
  const problem = found.problem;
  return html`<section class="card" aria-label=${W.understood.title}>
    <h2>${found.understood ? W.understood.title : W.understood.refused}</h2>
    ${problem && html`<p><b>${problem.title}</b></p><p>${problem.detail}</p>`}
    ${found.layout && html`<p class="lead">${found.layout}</p>`}
    <p class="muted">${[
      kind && kind.title,
      found.parameters && W.understood.parameters(short(found.parameters)),
      found.mult_adds && W.understood.multAdds(short(found.mult_adds)),
    ]
      .filter(Boolean)
      .join(' \u00b7 ')}</p>
    <${List} title=${W.understood.warnings} of=${found.warnings} />
    <${Table} label=${W.understood.layers} head=${W.understood.layersHead} numbers=${[1]}
      rows=${found.layers.map((each) => [each.name, count(each.size), each.may_shrink ? W.yes : W.no])} />
    <${Table} label=${W.understood.texts} head=${W.understood.textsHead} numbers=${[1, 2]}
      rows=${found.texts.map((each) => [W.fields[each.field] || each.field, count(each.tokens), count(each.unknown)])} />
    ${found.calibrated_on && html`<p>${W.understood.calibrated(found.calibrated_on)}</p>`}
    ${found.evaluated_on && html`<p>${W.understood.evaluated(found.evaluated_on)}</p>`}
    ${found.not_evaluated && html`<p class="note">${W.understood.notEvaluated(found.not_evaluated)}</p>`}
    <${List} title=${W.understood.assumed} of=${found.assumed} />
    <${List} title=${W.understood.dropped} of=${found.dropped} />
    <${List} title=${W.understood.leftAlone} of=${found.left_alone} />
    <${List} title=${W.understood.checks} of=${found.checks.map((each) =>
      W.understood.check(each.name, each.expected, each.found),
    )} />
  </section>`;
}

// One limit that the small model must keep to, with the rest behind `more`; and the same as commands.
const RANGES = { size_ratio: [0.05, 0.95, 0.05, 0.4], speedup: [1.5, 20, 0.5, 3] };

// The least, the most, the step and the usual value of a limit.
function range(limit, kind) {
  if (limit !== 'quality') return RANGES[limit];
  const usual = kind ? kind.default_budget : 0.05;
  return [0, 4 * usual, usual / 10, usual];
}

// The budgets that are asked for: one, or of a sweep those beside it as well.
const BESIDE = [0.5, 1, 1.5, 2];
function limitsOf({ limit, value, several }, kind) {
  const [least, most, , usual] = range(limit, kind);
  const chosen = value ?? usual;
  const all = BESIDE.map((each) => Number((each * chosen).toPrecision(6)));
  const within = all.filter((each, at) => each >= least && each <= most && all.indexOf(each) === at);
  return several ? within : [Number(chosen.toPrecision(6))];
}

function budgetsOf(options, kind) {
  const name = options.limit === 'quality' ? (kind ? kind.quality_limit : 'loss') : options.limit;
  return limitsOf(options, kind).map((value) => ({ [name]: value }));
}

function inWords(limit, value, metric) {
  if (limit === 'size_ratio') return W.budget.size(Math.round(100 * value));
  if (limit === 'speedup') return W.budget.speed(value);
  const shown = `${Number((value * (metric ? metric.factor : 100)).toPrecision(3))}\u202f${metric ? metric.unit : '%'}`;
  return W.budget.quality(metric ? metric.loss_name : W.budget.loss, shown);
}

function Budget({ options, kind, metric, set }) {
  const [least, most, step, usual] = range(options.limit, kind);
  const value = options.value ?? usual;
  return html`<h2>${W.budget.title}</h2>
    <label class="field"><span>${inWords(options.limit, value, metric)}</span>
      <input type="range" min=${least} max=${most} step=${step} value=${value} aria-valuetext=${inWords(options.limit, value, metric)}
        onInput=${(event) => set({ value: Number(event.target.value) })} /></label>
    <div class="row wrap"><label>${W.budget.name}<input required value=${options.name} maxlength="64" spellcheck="false"
      onInput=${(event) => set({ name: event.target.value })} /></label></div>
    <details><summary>${W.budget.more}</summary><div class="row wrap">
      <label>${W.budget.limit}<select value=${options.limit} onChange=${(event) => set({ limit: event.target.value, value: null })}>
        ${Object.entries(W.budget.limits).map(([name, title]) => html`<option value=${name}>${title}</option>`)}</select></label>
      <label>${W.budget.minutes}<input type="number" min="0" max="1440" value=${options.minutes}
        onInput=${(event) => event.target.value !== '' && set({ minutes: Number(event.target.value) })} /></label></div>
      <p><label class="choice"><input type="checkbox" checked=${options.several}
        onChange=${(event) => set({ several: event.target.checked })} />${W.budget.several}</label></p>
      <${List} title=${W.nav.sweeps} of=${options.several ? limitsOf(options, kind).map((each) => inWords(options.limit, each, metric)) : []} />
      </details>`;
}

const quoted = (text) => (/^[\w./@-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);
const variations = (budgets) => JSON.stringify(budgets.map((budget) => ({ budget })));
const dashed = (field) => field.replaceAll('_', '-');

// With several budgets the recipe has none of its own.
function Commands({ entries, recipe, budgets }) {
  const sent = entries.filter((each) => each.field);
  const model = sent.find((each) => each.field === 'model');
  const others = sent.filter((each) => each !== model);
  const limits = budgets.flatMap(Object.entries).map(([limit, value]) => `--${dashed(limit)} ${value}`);
  const curl = [
    `curl -s ${origin()}${recipe.budget ? '/compress' : '/sweeps'}`,
    ...sent.map(({ file, field }) => `-F ${quoted(`${field}=@${file.name}`)}`),
    `-F ${quoted(`options=${JSON.stringify(recipe)}`)}`,
    ...(recipe.budget ? [] : [`-F ${quoted(`variations=${variations(budgets)}`)}`]),
  ].join(' \\\n  ');
  const command = [
    `isslim ${recipe.budget ? 'compress' : 'sweep'} ${quoted(model ? model.file.name : 'model.pt')}`,
    ...others.map(({ file, field }) => `--${dashed(field)} ${quoted(file.name)}`),
    `--name ${quoted(recipe.name)} ${limits.join(' ')} --minutes ${recipe.minutes} --url ${origin()}`,
  ].join(' \\\n  ');
  return html`<details><summary>${W.budget.commands}</summary><${Copy} label="curl" text=${curl} />
    <${Copy} label="isslim" text=${command} /></details>`;
}

const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;
const nameOf = (file) =>
  file.name
    .replace(/\.[^.]*$/, '')
    .replace(/[^A-Za-z0-9._-]+/g, '-')
    .replace(/^[^A-Za-z0-9]+/, '')
    .slice(0, 64) || 'model';

function Files({ entries, change }) {
  const set = (at, field) => change(entries.map((each, other) => (other === at ? { ...each, field } : each)));
  return html`<ul class="lines">${entries.map(
    ({ file, field }, at) => html`<li key=${file.name + at}>
    <span class="grow"><b>${file.name}</b> <span class="muted">${bytes(file.size)}</span></span>
    <label><span class="unseen">${W.compress.fieldOf(file.name)}</span>
      <select value=${field} onChange=${(event) => set(at, event.target.value)}>
        <option value="">${W.compress.unused}</option>
        ${Object.entries(W.fields).map(([key, title]) => html`<option value=${key}>${title}</option>`)}</select></label>
    <button class="quiet" onClick=${() => change(entries.filter((_, other) => other !== at))}
      aria-label=${W.compress.without(file.name)}>${W.compress.remove}</button></li>`,
  )}</ul>`;
}

// What keeps the files from being sent, in words.
function missing(entries, name) {
  const fields = entries.map((each) => each.field).filter(Boolean);
  if (!fields.includes('model')) return W.compress.noModel;
  const twice = fields.find((each, at) => fields.indexOf(each) !== at);
  if (twice) return W.compress.twice(W.fields[twice]);
  return NAME.test(name) ? '' : W.compress.badName;
}

async function pending(found) {
  while (isActive(found)) {
    await new Promise((resume) => setTimeout(resume, 500));
    found = await get(route('inspections', found.id));
  }
  return found;
}

export function Compress() {
  useTitle(W.nav.compress);
  const [entries, setEntries] = useState([]);
  const [kinds = [], unknown] = useLoaded(knownKinds, []);
  const [options, setOptions] = useState({ name: '', limit: 'quality', value: null, minutes: 5 });
  const [state, setState] = useState({});
  const accept = async (files, chosen) => {
    const all = [...entries.map((each) => each.file), ...files];
    const next = await sorted(
      all.filter(
        (file, at) => all.findIndex((each) => each.name === file.name && each.size === file.size) === at,
      ),
    );
    const model = next.find((each) => each.field === 'model');
    if (model) setOptions((before) => ({ ...before, name: before.name || nameOf(model.file), ...chosen }));
    change(next);
  };
  useKey(() => setState((before) => ({ ...before, problem: null })));
  useEffect(() => {
    if (dropped[0].length) accept(...dropped);
    dropped = [[]];
  }, []);
  const change = (next) => {
    setEntries(next);
    setState({});
  };
  const understood = state.found;
  const kind = kinds.find(
    (each) => each.name === ((understood && understood.kind) || suggestedKind(entries)),
  );
  const budgets = budgetsOf(options, kind);
  const recipe = { name: options.name, minutes: options.minutes };
  if (!options.several) [recipe.budget] = budgets;
  const send = async (path) => {
    const form = new FormData();
    for (const { file, field } of entries) if (field) form.append(field, file);
    form.append('options', JSON.stringify(recipe));
    if (path === '/sweeps') form.append('variations', variations(budgets));
    setState((before) => ({ ...before, sending: 0, problem: null, path }));
    try {
      const answer = await upload(path, form, (sending) => setState((before) => ({ ...before, sending })));
      if (path !== '/inspect') {
        location.hash = screen(options.several ? 'sweeps' : 'jobs', answer.id);
        return;
      }
      const found = await pending(answer);
      setState({ found });
    } catch (problem) {
      setState((before) => ({ ...before, sending: null, problem }));
    }
  };
  const why = entries.length ? missing(entries, options.name) : '';
  const busy = state.sending != null;
  return html`<h1>${W.compress.title}</h1><p class="lead">${W.compress.lead}</p>
    <${Drop} take=${accept} />
    ${!entries.length && html`<${Empty} take=${accept} />`}
    ${
      entries.length > 0 &&
      html`
      <h2>${W.compress.files}</h2><${Files} entries=${entries} change=${change} />
      <${Budget} options=${options} kind=${kind} metric=${kind && kind.metrics[0]}
        set=${(next) => setOptions({ ...options, ...next })} />
      ${why && html`<p class="note" role="status">${why}</p>`}
      <div class="row wrap">
        <button class=${understood ? '' : 'primary'} disabled=${busy || why} onClick=${() => send('/inspect')}>
          ${W.compress.inspect}</button>
        <button class=${understood ? 'primary' : ''} disabled=${busy || why || (understood && !understood.understood)}
          onClick=${() => send(options.several ? '/sweeps' : '/compress')}>
          ${options.several ? W.compress.sweep(budgets.length) : W.compress.start}</button></div>
      <div aria-live="polite">${
        busy &&
        html`<p class="muted">${
          state.sending < 1
            ? W.compress.sending(percent(state.sending))
            : state.path === '/inspect'
              ? W.compress.looking
              : W.compress.starting
        }</p><${Bar} share=${state.sending} label=${W.compress.upload} />`
      }</div>
      <${Problem} problem=${state.problem || unknown} />
      ${understood && html`<${Understood} found=${understood} kinds=${kinds} />`}
      <${Commands} entries=${entries} recipe=${recipe} budgets=${budgets} />`
    }`;
}
