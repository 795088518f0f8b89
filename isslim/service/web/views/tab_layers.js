// What is left of each layer: units before and after, parameters and work.
import { html } from '../vendor/preact.js';
import { Table } from '../parts/common.js';
import { bestOf } from '../parts/verdict.js';
import { count, percent, short } from '../format.js';
import { W } from '../words.js';

const Share = ({
  share,
  label,
}) => html`<svg class="stack" viewBox="0 0 100 10" preserveAspectRatio="none" role="img" aria-label=${label}>
  <rect width=${100 * Math.min(1, share)} height="10" /></svg>`;

function Whole({ title, before, after }) {
  return html`<div class="layer"><span>${title}</span><${Share} share=${after / before} label=${W.layers.left(title, percent(after / before))} />
    <span>${short(before)} \u2192 ${short(after)} <span class="muted">(${percent(after / before)})</span></span></div>`;
}

export default function Layers({ manifest, report }) {
  const [original] = manifest.variants;
  const best = bestOf(manifest.variants);
  const after = new Map(best.parts.map((each) => [each.name, each]));
  const added = best.parts.filter((each) => !original.parts.some((one) => one.name === each.name));
  return html`<h2>${W.layers.units}</h2>
    ${manifest.axes.map(
      (axis) => html`<div class="layer"><span>${axis.label}</span>
      <${Share} share=${axis.kept / axis.original} label=${W.layers.left(axis.label, percent(axis.kept / axis.original))} />
      <span>${count(axis.original)} \u2192 ${count(axis.kept)}</span></div>`,
    )}
    <h2>${W.layers.work}</h2>
    <${Whole} title=${W.layers.parameters} before=${original.parameters} after=${best.parameters} />
    <${Whole} title=${W.layers.multAdds} before=${original.mult_adds} after=${best.mult_adds} />
    <${Table} label=${W.layers.table} head=${W.layers.head} numbers=${[1, 2, 3, 4]} rows=${[
      ...original.parts.map((part) => {
        const left = after.get(part.name);
        return [
          part.name,
          count(part.parameters),
          left ? count(left.parameters) : '\u2013',
          count(part.mult_adds),
          left ? count(left.mult_adds) : '\u2013',
        ];
      }),
      ...added.map((part) => [part.name, '\u2013', count(part.parameters), '\u2013', count(part.mult_adds)]),
    ]} />
    ${report.notes.length > 0 && html`<h2>${W.layers.notes}</h2><ul>${report.notes.map((each) => html`<li>${each}</li>`)}</ul>`}`;
}
