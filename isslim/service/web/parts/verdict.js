// What was gained in four tiles: time, size, quality, and whether it is proven.
import { html } from '../vendor/preact.js';
import { Tile } from './common.js';
import { bytes, change, count, exponent, interval, ratio, times } from '../format.js';
import { W } from '../words.js';

export const bestOf = (variants) =>
  variants.find((each) => each.recommended) || variants[variants.length - 1];

// The time of a variant against the original; null where it was not measured steadily.
function speedTile(variant) {
  const primary = variant.speeds.find((each) => each.primary);
  if (variant.speedup == null) return { value: '\u2013', label: W.tiles.notSteady };
  const alone =
    variant.over_int8 && variant.name !== 'original-int8'
      ? W.tiles.overInt8(times(variant.over_int8.median))
      : '';
  return {
    value: times(variant.speedup),
    label: W.tiles.fast(primary ? primary.run : ''),
    note: [W.interval(ratio(variant.speedup_low), ratio(variant.speedup_high)), alone]
      .filter(Boolean)
      .join('; '),
  };
}

function sizeTile(variant, original) {
  const smaller = original.size_bytes / variant.size_bytes;
  return {
    value: times(smaller >= 1 ? smaller : 1 / smaller),
    label: smaller >= 1 ? W.tiles.smaller : W.tiles.larger,
    note: `${bytes(original.size_bytes)} \u2192 ${bytes(variant.size_bytes)}`,
  };
}

function qualityTile(variant, original, metric) {
  const found = variant.quality;
  if (!found) return { value: '\u2013', label: W.tiles.notEvaluated(metric.label) };
  const sample = [
    interval(metric, found.low, found.high),
    found.count && `${count(found.count)} ${found.unit}`,
  ];
  const before = original.quality && original.quality.value;
  const values = before == null ? '' : ` ${value(metric, before)} \u2192 ${value(metric, found.value)}`;
  return {
    value: change(metric, found.loss),
    label: metric.worse ? metric.label + values : metric.loss_name,
    note: sample.filter(Boolean).join(', '),
  };
}

// A share is shown as the metric's changes are, in points of 100.
const value = (metric, of) =>
  metric.unit === 'points' && metric.factor === 100 ? (100 * of).toFixed(2) : of.toFixed(of >= 1000 ? 0 : 2);

export function Verdict({ manifest, metric }) {
  const [original] = manifest.variants;
  const best = bestOf(manifest.variants);
  const worst = Math.max(0, ...manifest.checks.map((each) => each.error));
  return html`<div class="tiles" role="group" aria-label=${W.tiles.group(best.name)}>
    <${Tile} ...${speedTile(best)} /><${Tile} ...${sizeTile(best, original)} />
    <${Tile} ...${qualityTile(best, original, metric)} />
    <${Tile} value=${`\u2713 ${manifest.checks.length}`} label=${W.tiles.proofs}
      note=${W.tiles.error(exponent(worst))} />
  </div>`;
}

export function CardTiles({ summary, metric }) {
  const [original] = summary.variants;
  const best = bestOf(summary.variants);
  const tiles = [speedTile(best), sizeTile(best, original), qualityTile(best, original, metric)];
  return html`<dl class="mini">${tiles.map(
    ({ value: shown, label }) => html`<div><dt>${label}</dt><dd>${shown}</dd></div>`,
  )}</dl>`;
}
