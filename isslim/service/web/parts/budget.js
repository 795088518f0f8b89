// One limit that the small model must keep to, with the rest behind `more`; and the same as commands.
import { html } from '../vendor/preact.js';
import { origin } from '../api.js';
import { Copy } from './common.js';
import { W } from '../words.js';

const percentages = { size_ratio: [0.05, 0.95, 0.05, 0.4], speedup: [1.5, 20, 0.5, 3] };

// The least, the most, the step and the usual value of a limit.
function range(limit, kind) {
  if (limit !== 'quality') return percentages[limit];
  const usual = kind ? kind.default_budget : 0.05;
  return [0, 4 * usual, usual / 10, usual];
}

export function budgetOf({ limit, value }, kind) {
  const [, , , usual] = range(limit, kind);
  const name = limit === 'quality' ? (kind ? kind.quality_limit : 'loss') : limit;
  return { [name]: Number((value ?? usual).toPrecision(6)) };
}

function inWords(limit, value, metric) {
  if (limit === 'size_ratio') return W.budget.size(Math.round(100 * value));
  if (limit === 'speedup') return W.budget.speed(value);
  const shown = `${Number((value * (metric ? metric.factor : 100)).toPrecision(3))}\u202f${metric ? metric.unit : '%'}`;
  return W.budget.quality(metric ? metric.loss_name : W.budget.loss, shown);
}

export function Budget({ options, kind, metric, set }) {
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
        onInput=${(event) => event.target.value !== '' && set({ minutes: Number(event.target.value) })} /></label></div></details>`;
}

const quoted = (text) => (/^[\w./@-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);
const dashed = (field) => field.replaceAll('_', '-');

export function Commands({ entries, recipe }) {
  const sent = entries.filter((each) => each.field);
  const model = sent.find((each) => each.field === 'model');
  const others = sent.filter((each) => each !== model);
  const [[limit, value]] = Object.entries(recipe.budget);
  const curl = [
    `curl -s ${origin()}/compress`,
    ...sent.map(({ file, field }) => `-F ${quoted(`${field}=@${file.name}`)}`),
    `-F ${quoted(`options=${JSON.stringify(recipe)}`)}`,
  ].join(' \\\n  ');
  const command = [
    `isslim compress ${quoted(model ? model.file.name : 'model.pt')}`,
    ...others.map(({ file, field }) => `--${dashed(field)} ${quoted(file.name)}`),
    `--name ${quoted(recipe.name)} --${dashed(limit)} ${value} --minutes ${recipe.minutes} --url ${origin()}`,
  ].join(' \\\n  ');
  return html`<details><summary>${W.budget.commands}</summary><${Copy} label="curl" text=${curl} />
    <${Copy} label="isslim" text=${command} /></details>`;
}
