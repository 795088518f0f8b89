// Models beside each other: any two, and those of a sweep that no other beats.
import {
  html,
  bestOf,
  choicesOf,
  isActive,
  useState,
  Options,
  primaryOf,
  route,
  screen,
  Waiting,
  get,
  kinds,
  Table,
  Tile,
  useLoaded,
  useTitle,
  change,
  count,
  interval,
  metricOf,
  milliseconds,
  percent,
  times,
  W,
  remove,
  Bar,
  Copy,
  useEvery,
  short,
  when,
} from '../page.js';
import { difference, Make, sizeTile, speedTile } from './model.js';
import { Axes, Chart, clock, Point, linear, ticks, useWidth } from '../charts.js';

// Any two variants, of one model or of two: what the second one gains and loses. The address is a link.

const shape = (variant) => (primaryOf(variant.speeds) || { run: '' }).run;

// Times that were taken in turn have a ratio with an interval; those of two jobs have none.
function timeTile(a, b) {
  const [before, after] = [primaryOf(a.variant.latency), primaryOf(b.variant.latency)];
  if (!before || !after) return { value: '\u2013', label: W.tiles.unknown, note: W.tiles.untimed };
  if (shape(a.variant) !== shape(b.variant)) return { value: '\u2013', label: W.compare.otherRun };
  if (a.model.id === b.model.id && a.variant.name === 'original' && b.variant.speedup != null) {
    return speedTile(b.variant);
  }
  if (!before.steady || !after.steady) return { value: '\u2013', label: W.tiles.unknown, note: W.tiles.apart };
  return {
    value: times(clock(before) / clock(after)),
    label: W.tiles.fast(shape(b.variant)),
    note: a.model.id === b.model.id ? W.compare.medians : W.compare.notInTurn,
  };
}

// Why two figures of quality tell nothing about each other; empty where they do.
function apart([a, b], [first, second]) {
  if (a.model.metric !== b.model.metric || !a.variant.quality || !b.variant.quality)
    return W.compare.otherMetric;
  if (a.variant.quality.count !== b.variant.quality.count) return W.compare.otherData;
  const words = ({ manifest }) =>
    (manifest.files.find((each) => each.path === 'tokenizer.json') || {}).sha256;
  return words(first) === words(second) ? '' : W.compare.otherWords;
}

function Figures({ a, b, known }) {
  const metric = metricOf(known, b.model.metric);
  const pair = [a, b];
  const [read, problem, again] = useLoaded(
    () => Promise.all(pair.map(({ model }) => get(route('models', model.id)))),
    [a.model.id, b.model.id],
  );
  if (!read) return html`<${Waiting} problem=${problem} again=${again} />`;
  const why = apart(pair, read);
  const ran = shape(a.variant) === shape(b.variant);
  const left = (name) => [
    count(a.variant[name]),
    count(b.variant[name]),
    a.variant[name] ? percent(b.variant[name] / a.variant[name]) : '',
  ];
  const values = pair.map(({ variant }) => variant.quality && variant.quality.value);
  const quality = why
    ? { value: '\u2013', label: why }
    : {
        value: difference(metric, values[1] - values[0]),
        label: metric.worse ? metric.label : metric.loss_name,
        note: values.map((each) => each.toPrecision(5)).join(' \u2192 '),
      };
  const row = (each) => [
    each.label,
    change(metricOf(known, each.model.metric), each.variant.quality && each.variant.quality.loss),
    each.variant.quality
      ? interval(metricOf(known, each.model.metric), each.variant.quality.low, each.variant.quality.high)
      : '',
  ];
  return html`<div class="tiles" role="group" aria-label=${W.compare.group(a.label, b.label)}>
      <${Tile} ...${timeTile(a, b)} />
      <${Tile} ...${sizeTile(b.variant, a.variant)} />
      <${Tile} ...${quality} />
    </div>
    ${a.model.task !== b.model.task && html`<p class="note">${W.compare.kinds}</p>`}
    <${Table} label=${W.compare.title} head=${['', a.label, b.label, W.compare.left]} numbers=${[1, 2, 3]} rows=${[
      [W.layers.parameters, ...left('parameters')],
      [W.layers.multAdds, ...left('mult_adds')],
      [
        [W.compare.time, ran && shape(a.variant)].filter(Boolean).join(', '),
        ...pair.map(({ variant }) =>
          variant.latency.length
            ? milliseconds(clock(primaryOf(variant.latency))) + (ran ? '' : `, ${shape(variant)}`)
            : '\u2013',
        ),
        '',
      ],
    ]} />
    <${Table} label=${W.compare.against} head=${W.compare.againstHead} numbers=${[1, 2]} rows=${pair.map(row)} />`;
}

export function Compare({ query }) {
  useTitle(W.nav.compare);
  const [loaded, problem, again] = useLoaded(() => Promise.all([get('/models'), kinds()]), []);
  if (!loaded) return html`<${Waiting} title=${W.compare.title} problem=${problem} again=${again} />`;
  const choices = choicesOf(loaded[0]);
  const whole = choices.map((each) => each.model);
  const last = whole.find((each) => each.variants.length > 1) || whole[0];
  const usual = last
    ? [last.variants[0], bestOf(last.variants)].map((each) => `${last.id}:${each.name}`)
    : [];
  const chosen = ['a', 'b'].map((each, place) => query.get(each) || usual[place]);
  const [a, b] = chosen.map((each) => choices.find((one) => one.key === each));
  const choose = (place) => (event) => {
    const next = chosen.map((each, at) => (at === place ? event.target.value : each));
    location.hash = `#/compare?${new URLSearchParams({ a: next[0], b: next[1] })}`;
  };
  const select = (place) => html`<label class="grow">${place ? W.compare.second : W.compare.first}
    <select class="wide" value=${chosen[place]} onChange=${choose(place)}>
      <${Options} of=${choices} /></select></label>`;
  return html`<h1>${W.compare.title}</h1><p class="lead">${W.compare.lead}</p>
    ${
      choices.length
        ? html`<div class="row wrap">${select(0)} ${select(1)}</div>
      ${a && b ? html`<${Figures} a=${a} b=${b} known=${loaded[1]} />` : html`<p class="note">${W.compare.gone}</p>`}`
        : html`<p>${W.home.none}</p>`
    }`;
}

// Sweeps: one upload under several recipes, and the models that no other one beats.

const FORMS = [
  'M-6 0a6 6 0 1 0 12 0a6 6 0 1 0 -12 0',
  'M-6 -6h12v12h-12z',
  'M0 -8l8 8l-8 8l-8 -8z',
  'M-7 6h14l-7 -13z',
];
const COLOURS = ['compressed', 'baseline', 'third', 'original'];
// Of sixteen jobs no two look alike.
const colour = (at) => COLOURS[at % 4];
const form = (at) => FORMS[(at + Math.floor(at / 4)) % 4];

// What the recipe of a job allows, in short.
function budgetOf(job) {
  const [found] = Object.entries(job.request.recipe.budget).filter(
    ([name, value]) => value != null && name !== 'confident',
  );
  const limit = found ? `${found[0].replaceAll('_', ' ')} ${found[1]}` : W.sweeps.usual;
  return job.request.recipe.mode === 'learn' ? `${limit}, ${job.request.recipe.learner}` : limit;
}

function Front({ sweep, metric }) {
  const [element, width] = useWidth();
  const [picked, setPicked] = useState(null);
  const f = metric.factor;
  const places = sweep.front.filter((each) => Number.isFinite(each.loss));
  const box = { left: 52, right: width - 16, top: 34, bottom: 290 };
  const most = (1.05 * Math.max(...places.map((each) => each.parameters))) / 1e6;
  const high =
    1.1 * Math.max(1e-6, ...places.map((each) => (each.estimate ? each.estimate.high : each.loss) * f));
  const low =
    Math.min(0, ...places.map((each) => (each.estimate ? each.estimate.low : each.loss) * f)) - 0.06 * high;
  const [x, y] = [linear(0, most, box.left, box.right), linear(low, high, box.bottom, box.top)];
  const line = places.map((each) => `${x(each.parameters / 1e6)} ${y(each.loss * f)}`);
  const place = (each) => sweep.jobs.findIndex((job) => job.id === each.job_id);
  const from = (each) => sweep.jobs[place(each)].name;
  const act = (each) => {
    if (each.model_id) return () => (location.hash = screen('models', each.model_id));
    // Where the size of the whole is not known, it cannot be asked for by its share.
    return sweep.jobs[place(each)].inspection && (() => setPicked(each));
  };
  const name = (each) => W.sweeps.point(from(each), short(each.parameters), change(metric, each.loss));
  return html`<${Chart} at=${element} width=${width} height="340" label=${W.sweeps.chart}>
      <${Axes} box=${box} x=${x} y=${y} xTicks=${ticks(0, most, width > 480 ? 6 : 3)} yTicks=${ticks(low, high, 5)}
        xName=${W.curve.parameters} yName=${metric.axis} />
      <path class="line" d=${`M${line.join('L')}`} />
      ${places.map(
        (each) => html`<${Point} name=${name(each)}
        act=${act(each)}>
        <g class=${colour(place(each))}>
          ${
            each.estimate &&
            html`<path class="whisker"
            d=${`M${x(each.parameters / 1e6)} ${y(each.estimate.high * f)}V${y(each.estimate.low * f)}`} />`
          }
          <path class=${each.model_id ? 'dot' : 'hollow'} transform=${`translate(${x(each.parameters / 1e6)} ${y(each.loss * f)})`}
            d=${form(place(each))} /></g></${Point}>`,
      )}
    </${Chart}>
    <p class="legend">${sweep.jobs.map(
      (job, at) => html`<span><svg class="chart key" viewBox="-9 -9 18 18" aria-hidden="true">
      <g class=${colour(at)}><path class="dot" d=${form(at)} /></g></svg>${job.name} (${budgetOf(job)})</span>`,
    )}</p>
    <p class="muted small">${W.sweeps.reading}</p>
    ${
      picked &&
      html`<${Make} key=${picked.parameters} job=${() => sweep.jobs[place(picked)]} name=${from(picked)}
      share=${picked.parameters / sweep.jobs[place(picked)].inspection.parameters} close=${() => setPicked(null)} />`
    }
    <${Table} label=${W.sweeps.front} head=${W.sweeps.frontHead(W.changeOf(metric))} numbers=${[1, 2, 3, 4]} rows=${sweep.front.map(
      (each) => [
        each.model_id
          ? html`<a href=${screen('models', each.model_id)}>${from(each)}</a>`
          : html`${from(each)}
              ${act(each) && html` <button class="quiet" onClick=${act(each)}>${W.curve.makeThis}</button>`}`,
        count(each.parameters),
        count(each.mult_adds),
        change(metric, each.loss),
        each.estimate ? interval(metric, each.estimate.low, each.estimate.high) : '',
      ],
    )} />`;
}

const COMMAND = [
  'isslim sweep model.pt --vocabulary words.txt --held-out valid.txt',
  '--name mine --perplexity-rise 0.02 --perplexity-rise 0.1',
].join(' \\\n  ');

async function load(id) {
  if (!id) return { sweeps: await get('/sweeps') };
  const [sweep, known] = await Promise.all([get(route('sweeps', id)), kinds()]);
  const read = sweep.jobs.map((each) => each.inspection).find(Boolean);
  return { sweep, metric: metricOf(known, read && read.metric) };
}

function One({ sweep, metric, again }) {
  const cancel = () => remove(route('sweeps', sweep.id)).then(again, again);
  return html`<p class="muted over">${W.sweeps.one} \u00b7 ${when(sweep.created_at)}</p><h1>${sweep.name}</h1>
    <p class="lead">${W.states[sweep.state]}${isActive(sweep) ? ` \u00b7 ${percent(sweep.progress)}` : ''}</p>
    ${
      isActive(sweep) &&
      html`<${Bar} share=${sweep.progress} label=${W.job.progressOf(sweep.name)} />
      <p><button class="danger" onClick=${cancel}>${W.sweeps.cancel}</button></p>`
    }
    ${sweep.front.length > 0 && html`<h2>${W.sweeps.front}</h2><${Front} sweep=${sweep} metric=${metric} />`}
    <h2>${W.sweeps.jobs}</h2><ul class="lines">${sweep.jobs.map(
      (job) => html`<li><a href=${screen('jobs', job.id)}>${job.name}</a>
      <span class="muted">${budgetOf(job)}</span>
      <span>${W.states[job.state]}${job.state === 'running' ? ` ${percent(job.progress)}` : ''}</span></li>`,
    )}</ul>`;
}

export function Sweeps({ parts: [id] }) {
  const [loaded, problem, again] = useLoaded(() => load(id), [id]);
  useEvery(3, again);
  useTitle(loaded && loaded.sweep ? loaded.sweep.name : W.nav.sweeps);
  if (!loaded) return html`<${Waiting} title=${W.nav.sweeps} problem=${problem} again=${again} />`;
  if (loaded.sweep) return html`<${One} ...${loaded} again=${again} />`;
  return html`<h1>${W.nav.sweeps}</h1><p class="lead">${W.sweeps.lead}</p>
    ${
      loaded.sweeps.length
        ? html`<ul class="lines">${loaded.sweeps.map(
            (each) => html`<li>
      <a href=${screen('sweeps', each.id)}>${each.name}</a><span class="muted">${W.sweeps.many(each.jobs.length)}</span>
      <span>${W.states[each.state]}</span></li>`,
          )}</ul>`
        : html`<p>${W.sweeps.none}</p>`
    }
    <p><a href="#/compress">${W.sweeps.begin}</a> ${W.sweeps.how}</p>
    <${Copy} label="isslim" text=${COMMAND} />`;
}
