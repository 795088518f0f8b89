// A graph tried: arrays of npz files, and outputs of the variants side by side.
import {
  html,
  route,
  Table,
  count,
  exponent,
  figure,
  percent,
  W,
  useEffect,
  useState,
  download,
  get,
  post,
  Problem,
  Variants,
  useLoaded,
  usualVariants,
  milliseconds,
  times,
} from '../page.js';
import { Axes, Chart, linear, ticks, useWidth } from '../charts.js';

// Arrays of an npz file as nested lists: a zip of npy files, stored or deflated. No pickles.
const LIMIT = 64 << 20;
const NUMBERS = {
  f8: [8, 'getFloat64'],
  f4: [4, 'getFloat32'],
  i8: [8, 'getBigInt64'],
  i4: [4, 'getInt32'],
  i2: [2, 'getInt16'],
  i1: [1, 'getInt8'],
  u8: [8, 'getBigUint64'],
  u4: [4, 'getUint32'],
  u2: [2, 'getUint16'],
  u1: [1, 'getUint8'],
  b1: [1, 'getUint8'],
  f2: [2, 'getUint16'],
};

function half(bits) {
  const [sign, exponent, fraction] = [bits >> 15 ? -1 : 1, (bits >> 10) & 31, bits & 1023];
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (exponent ? 2 ** (exponent - 15) * (1 + fraction / 1024) : 2 ** -14 * (fraction / 1024));
}

async function inflated(bytes) {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream('deflate-raw'));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

// The files of a zip by name, by its directory at the end.
async function unzipped(buffer) {
  const view = new DataView(buffer);
  let end = buffer.byteLength - 22;
  while (end >= 0 && view.getUint32(end, true) !== 0x06054b50) end -= 1;
  if (end < 0) throw new Error(W.graph.noNpz);
  const found = new Map();
  let at = view.getUint32(end + 16, true);
  for (let left = view.getUint16(end + 10, true); left > 0; left -= 1) {
    const [method, size, whole] = [
      view.getUint16(at + 10, true),
      view.getUint32(at + 20, true),
      view.getUint32(at + 24, true),
    ];
    const [name, extra, comment] = [28, 30, 32].map((each) => view.getUint16(at + each, true));
    const local = view.getUint32(at + 42, true);
    if (whole > LIMIT) throw new Error(W.graph.tooLarge(count(whole)));
    const start = local + 30 + view.getUint16(local + 26, true) + view.getUint16(local + 28, true);
    const data = new Uint8Array(buffer, start, size);
    const title = new TextDecoder().decode(new Uint8Array(buffer, at + 46, name));
    found.set(title.replace(/\.npy$/, ''), method === 0 ? data : await inflated(data));
    at += 46 + name + extra + comment;
  }
  return found;
}

// As JSON: a number of 64 bits keeps all its digits.
function nested(flat, shape, at = 0, depth = 0) {
  if (depth === shape.length) return String(flat[at]);
  const step = shape.slice(depth + 1).reduce((all, each) => all * each, 1);
  return `[${Array.from({ length: shape[depth] }, (_, index) =>
    nested(flat, shape, at + index * step, depth + 1),
  )}]`;
}

function array(name, bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const wide = bytes[6] > 1;
  const start = wide ? 12 : 10;
  const length = wide ? view.getUint32(8, true) : view.getUint16(8, true);
  const head = new TextDecoder().decode(bytes.subarray(start, start + length));
  const [, order, kind] = /'descr': '([<>|=]?)(\w+)'/.exec(head) || [];
  const shape = (/'shape': \(([^)]*)\)/.exec(head) || ['', ''])[1]
    .split(',')
    .map((each) => each.trim())
    .filter(Boolean)
    .map(Number);
  if (!(kind in NUMBERS) || /'fortran_order': True/.test(head)) throw new Error(W.graph.noForm(name));
  const [width, reader] = NUMBERS[kind];
  const count = shape.reduce((all, each) => all * each, 1);
  const flat = Array.from({ length: count }, (_, at) => {
    const value = view[reader](start + length + at * width, order !== '>');
    return kind === 'f2' ? half(value) : kind === 'b1' ? Boolean(value) : value;
  });
  return { shape, text: nested(flat, shape) };
}

// Of a file that ends too early or was damaged, whatever it is that fails in reading it.
function whole(problem) {
  throw problem.constructor === Error ? problem : new Error(W.graph.noNpz);
}

// The runs of a file of recorded inputs: `<input>`, or `<run>/<input>`; targets are left out.
export async function readRuns(buffer) {
  const runs = new Map();
  for (const [title, bytes] of await unzipped(buffer)) {
    const [, run, name] = /^(?:(\d+)\/)?(.+)$/s.exec(title);
    if (name.startsWith('target:')) continue;
    if (!runs.has(run || '0')) runs.set(run || '0', {});
    runs.get(run || '0')[name] = array(title, bytes);
  }
  return [...runs.entries()].sort(([a], [b]) => a - b).map(([, inputs]) => inputs);
}

// One output of a graph by several variants: how far apart, where, and which decisions differ.

const SHOWN = 12;
const BINS = 21;
const flat = (value) => (Array.isArray(value) ? value.flat(Infinity) : [value]);
// The innermost lists, in each of which the largest number is the decision.
const rows = (value) => (Array.isArray(value) && Array.isArray(value[0]) ? value.flatMap(rows) : [value]);
const decision = (row) => row.reduce((best, each, at) => (each > row[best] ? at : best), 0);

export function decisionsOf(first, other) {
  if (!Array.isArray(first)) return null;
  const [ours, theirs] = [rows(first), rows(other)];
  if (!ours[0] || ours[0].length < 2 || ours.length !== theirs.length) return null;
  const differ = ours.filter((row, at) => decision(row) !== decision(theirs[at])).length;
  return { differ, all: ours.length };
}

function Histogram({ differences, name }) {
  const [element, width] = useWidth();
  const far = Math.max(...differences.map(Math.abs), 1e-12);
  const bins = Array(BINS).fill(0);
  for (const each of differences) bins[Math.min(BINS - 1, Math.floor(((each / far + 1) / 2) * BINS))] += 1;
  const box = { left: 46, right: width - 12, top: 16, bottom: 120 };
  const most = Math.max(...bins);
  const y = linear(0, most, box.bottom, box.top);
  const wide = (box.right - box.left) / BINS;
  return html`<${Chart} at=${element} width=${width} height="166" role="img" label=${W.graph.histogram(name, exponent(far))}>
    <${Axes} box=${box} x=${linear(-1, 1, box.left, box.right)} y=${y} xTicks=${[]} yTicks=${ticks(0, most, 2)}
      xName=${W.graph.difference(exponent(far))} yName="" />
    <g class="compressed">${bins.map(
      (each, at) =>
        each > 0 &&
        html`<rect class="dot" x=${box.left + at * wide + 1} y=${y(each)}
      width=${Math.max(1, wide - 2)} height=${box.bottom - y(each)} />`,
    )}</g></${Chart}>`;
}

export function Output({ name, variants }) {
  const [first, ...others] = variants;
  const base = flat(first.outputs[name]);
  return html`<section class="card"><h3><code>${name}</code> <span class="muted">${W.graph.numbers(count(base.length))}</span></h3>
    ${others.map((each) => {
      const own = flat(each.outputs[name]);
      const decisions = decisionsOf(first.outputs[name], each.outputs[name]);
      const changed = each.change && each.change[name];
      const differences = own.map((value, at) => value - base[at]).filter(Number.isFinite);
      return html`<h4>${each.variant}</h4>
        <p>${[
          changed != null && W.graph.changed(`${(100 * changed).toFixed(2)}\u202f%`),
          decisions &&
            W.graph.decisions(decisions.differ, decisions.all, percent(decisions.differ / decisions.all)),
          each.not_finite[name] && W.graph.notFinite(each.not_finite[name]),
        ]
          .filter(Boolean)
          .join('; ')}</p>
        ${differences.length > 1 && html`<${Histogram} differences=${differences} name=${name} />`}`;
    })}
    <${Table} label=${W.graph.table(name)} head=${['', ...variants.map((each) => each.variant)]} numbers=${variants.map((_, at) => at + 1)}
      rows=${base.slice(0, SHOWN).map((_, at) => [
        String(at),
        ...variants.map((each) => {
          const value = flat(each.outputs[name])[at];
          return typeof value === 'number' ? figure(value) : String(value);
        }),
      ])} />
    ${base.length > SHOWN && html`<p class="muted small">${W.graph.first(SHOWN)}</p>`}</section>`;
}

// A graph on inputs of yours, or on those it was measured on: outputs of the variants side by side.

const LONG = 4000; // characters of an input above which it is not shown as text
const shapeOf = (value) => (Array.isArray(value) ? [value.length, ...shapeOf(value[0])] : []);

export function TryGraph({ id, manifest }) {
  const address = route('models', id);
  const [described, missing, again] = useLoaded(() => get(`/v2${address}`), [id]);
  const [[runs, place], setRuns] = useState([[], 0]);
  const [inputs, setInputs] = useState({});
  const [variants, setVariants] = useState(usualVariants(manifest.variants));
  const [state, setState] = useState({});
  const take = (found, at) => {
    setRuns([found, at]);
    const long = ([name, each]) => [name, { ...each, long: each.text.length > LONG }];
    setInputs(Object.fromEntries(Object.entries(found[at] || {}).map(long)));
    setState({});
  };
  const read = async (load) => {
    try {
      const loaded = await load();
      take(await readRuns(loaded).catch(whole), 0);
    } catch (problem) {
      setState({ problem });
    }
  };
  const sample = () => read(() => download(`${address}/files/samples.npz`));
  useEffect(() => {
    if (manifest.files.some((each) => each.path === 'samples.npz')) sample();
  }, [id]);
  const typed = (name, text) => {
    let shape;
    try {
      shape = shapeOf(JSON.parse(text));
    } catch {
      /* not yet */
    }
    setInputs({ ...inputs, [name]: { text, shape } });
    setState({});
  };
  const run = async (event) => {
    event.preventDefault();
    const given = Object.entries(inputs).filter(([, each]) => each.text.trim());
    const wrong = given.find(([, each]) => !each.shape);
    if (wrong) {
      setState({ problem: new Error(W.graph.noJson(wrong[0])) });
      return;
    }
    setState({ busy: true });
    // As it was written: read and written again, a large whole number would be another.
    const texts = given.map(([name, each]) => `${JSON.stringify(name)}:${each.text}`);
    const body = `{"inputs":{${texts}},"variants":${JSON.stringify(variants)}}`;
    try {
      setState({ found: await post(`${address}/run`, undefined, { body }) });
    } catch (problem) {
      setState({ problem });
    }
  };
  if (missing) return html`<${Problem} problem=${missing} again=${again} />`;
  if (!described) return html`<p class="muted">${W.loading}</p>`;
  const { found } = state;
  const names = found ? Object.keys(found.variants[0].outputs) : [];
  return html`<h2>${W.graph.inputs}</h2>
    <${Table} label=${W.graph.inputs} head=${W.graph.head} rows=${described.inputs.map((each) => [
      html`<code>${each.name}</code>`,
      each.datatype,
      each.shape.map((size) => (size < 0 ? W.graph.any : size)).join(' \u00d7 '),
      ((inputs[each.name] || {}).shape || []).join(' \u00d7 ') || '\u2013',
    ])} />
    <p class="row wrap"><button onClick=${sample}>${W.graph.sample}</button>
      <label class="button">${W.graph.file}<input class="unseen" type="file" accept=".npz" onChange=${(
        event,
      ) => event.target.files[0] && read(() => event.target.files[0].arrayBuffer())} /></label>
      ${
        runs.length > 1 &&
        html`<label>${W.graph.run}<select value=${place} onChange=${(event) => take(runs, Number(event.target.value))}>
        ${runs.map((_, at) => html`<option value=${at}>${at + 1}</option>`)}</select></label>`
      }</p>
    <form onSubmit=${run}>
      ${described.inputs.map(({ name }) => {
        const { text, long } = inputs[name] || {};
        return long
          ? html`<p class="muted small"><code>${name}</code> ${W.graph.long}</p>`
          : html`<label class="field"><span><code>${name}</code> ${W.graph.json}</span><textarea class="code" rows="2" spellcheck="false"
              value=${text || ''} onInput=${(event) => typed(name, event.target.value)}></textarea></label>`;
      })}
      <div class="row wrap"><${Variants} all=${manifest.variants.map((each) => each.name)} chosen=${variants} choose=${setVariants} />
        <button class="primary" disabled=${state.busy}>${state.busy ? W.graph.busy : W.graph.begin}</button></div></form>
    <${Problem} problem=${state.problem} />
    ${
      found &&
      html`<div aria-live="polite"><h2>${W.graph.outputs}</h2>
      <p class="muted">${found.variants
        .map(
          (each, at) =>
            `${each.variant} ${milliseconds(each.timing.run_ms)}${
              at && each.speedup ? ` (${W.text.once(times(each.speedup))})` : ''
            }`,
        )
        .join(' \u00b7 ')}</p></div>
      ${names.map((name) => html`<${Output} key=${name} name=${name} variants=${found.variants} />`)}`
    }`;
}
