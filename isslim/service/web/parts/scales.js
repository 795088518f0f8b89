// Scales and axes of charts, drawn at the width that there is: letters keep their size on any screen.
import { html, useEffect, useRef, useState } from '../vendor/preact.js';

export function useWidth() {
  const element = useRef(null);
  const [width, setWidth] = useState(640);
  useEffect(() => {
    const seen = new ResizeObserver(([entry]) =>
      setWidth(Math.max(260, Math.round(entry.contentRect.width))),
    );
    if (element.current) seen.observe(element.current);
    return () => seen.disconnect();
  }, []);
  return [element, width];
}

// Round numbers within a range, about `many` of them.
export function ticks(low, high, many) {
  const raw = (high - low) / many || 1;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = power * [1, 2, 5, 10].find((each) => each * power >= raw - 1e-12);
  const found = [];
  for (let at = Math.ceil(low / step - 1e-9); at * step <= high + step * 1e-9; at += 1) found.push(at * step);
  return found;
}

export function logTicks(low, high) {
  const found = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power += 1) {
    for (const each of [1, 2, 5]) found.push(each * 10 ** power);
  }
  return found.filter((each) => each >= low && each <= high);
}

export const linear = (low, high, from, to) => (value) =>
  from + ((value - low) / (high - low || 1)) * (to - from);
export const logarithmic = (low, high, from, to) => {
  const inner = linear(Math.log(low), Math.log(high), from, to);
  return (value) => inner(Math.log(value));
};

const trimmed = (value) => Number(value.toPrecision(6)).toLocaleString('en').replace('-', '\u2212');

export function Axes({ box, x, y, xTicks, yTicks, xName, yName }) {
  return html`<g>
    ${yTicks.map(
      (each) => html`<path class="axis" d=${`M${box.left} ${y(each)}H${box.right}`} />
      <text x=${box.left - 8} y=${y(each) + 4} text-anchor="end">${trimmed(each)}</text>`,
    )}
    ${xTicks.map(
      (each) => html`<path class="axis" d=${`M${x(each)} ${box.bottom}v5`} />
      <text x=${x(each)} y=${box.bottom + 19} text-anchor="middle">${trimmed(each)}</text>`,
    )}
    <path class="axis" d=${`M${box.left} ${box.bottom}H${box.right}`} />
    <text x=${(box.left + box.right) / 2} y=${box.bottom + 38} text-anchor="middle">${xName}</text>
    <text x="0" y="14">${yName}</text></g>`;
}

// A point that can be focused, and pressed where it does something; its name says all of it.
export function Point({ name, act, children }) {
  const press = (event) => {
    if (event.key !== 'Enter' && event.key !== ' ') return;
    event.preventDefault();
    act();
  };
  return html`<g tabindex="0" role=${act ? 'button' : 'img'} aria-label=${name} onClick=${act}
    onKeyDown=${act && press}><title>${name}</title>${children}</g>`;
}
