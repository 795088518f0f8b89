// Figures as text. A ratio, a size or a change reads the same on every screen.
import { W } from './words.js';

const MINUS = '\u2212';
export const signed = (value, digits = 2) => {
  const size = Math.abs(value).toFixed(digits);
  if (Number(size) === 0) return size;
  return (value < 0 ? MINUS : '+') + size;
};
export const plain = (value, digits = 2) => (value < 0 ? MINUS : '') + Math.abs(value).toFixed(digits);
export const ratio = (value) => (value >= 100 ? value.toFixed(0) : value.toFixed(value >= 10 ? 1 : 2));
export const times = (value) => `${ratio(value)}\u00d7`;
export const count = (value) => Number(value).toLocaleString('en');
export const percent = (value) => `${Math.round(100 * value)}\u202f%`;
export const bytes = (size) => {
  for (const [unit, of] of [
    ['GB', 1e9],
    ['MB', 1e6],
    ['kB', 1e3],
  ]) {
    if (size >= of) return `${(size / of).toFixed(size / of >= 100 ? 0 : 1)} ${unit}`;
  }
  return `${size} B`;
};
export const milliseconds = (value) => {
  if (value >= 1000) return `${(value / 1000).toFixed(1)} s`;
  return `${value.toFixed(value >= 100 ? 0 : value >= 10 ? 1 : value >= 1 ? 2 : 3)} ms`;
};
export const duration = (seconds) => {
  if (seconds < 60) return `${Math.max(1, Math.round(seconds))} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
};
export const when = (moment) => {
  const at = new Date(moment);
  return Number.isNaN(at.valueOf())
    ? ''
    : at.toLocaleString('en-GB', { dateStyle: 'medium', timeStyle: 'short' });
};
export const bits = (logProb) => -logProb / Math.LN2;
export const short = (number) => {
  if (number >= 1e9) return `${(number / 1e9).toFixed(1)} B`;
  if (number >= 1e6) return `${(number / 1e6).toFixed(1)} M`;
  return number >= 1e4 ? `${(number / 1e3).toFixed(0)} k` : count(number);
};

const PLAIN = { label: '', loss_name: '', axis: '', factor: 100, unit: '%', worse: 'worse' };
// How a metric is shown; one that is not known here is a relative worsening.
export function metricOf(kinds, name) {
  for (const kind of kinds || []) {
    const found = kind.metrics.find((each) => each.name === name);
    if (found) return found;
  }
  const label = String(name || '').replace(/^command:/, '');
  return { ...PLAIN, name, label, loss_name: W.worseningOf(label), axis: `${W.worseningOf(label)} (%)` };
}
const unit = (metric) => (metric.unit ? `\u202f${metric.unit}` : '');
// A loss as the metric's own change: where F1 fell by half a point this is -0.50 points.
export function change(metric, loss) {
  if (loss == null) return W.notEvaluated;
  const value = metric.factor * (metric.worse === 'lower' ? -loss : loss);
  return (metric.worse ? signed : plain)(value) + unit(metric);
}
export function interval(metric, low, high) {
  if (low == null || high == null) return '';
  const flip = metric.worse === 'lower';
  const [first, last] = flip ? [-high, -low] : [low, high];
  const show = metric.worse ? signed : plain;
  return W.interval(show(metric.factor * first), show(metric.factor * last) + unit(metric));
}
export const figure = (value) =>
  Math.abs(value) >= 1000 ? count(Math.round(value)) : Number(value).toPrecision(4);
export const exponent = (value) =>
  value ? Number(value).toExponential(1).replace('e-', 'e\u2212').replace('e+', 'e') : '0';
