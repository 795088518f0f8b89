// Small parts of every screen: problems, loading, tables, tiles, copied commands.
import { html, useEffect, useRef, useState } from './vendor/preact.js';
import { W } from './words.js';

export function Problem({ problem, again }) {
  if (!problem) return null;
  const network = problem instanceof TypeError;
  return html`<div class="card problem" role="alert">
    <h2>${network ? W.problem.network : problem.title || W.problem.here}</h2>
    <p>${network ? W.problem.networkText : problem.detail || problem.message}</p>
    ${
      (problem.errors || []).length > 1 &&
      html`<ul>${problem.errors.map(
        (each) => html`<li>${each.pointer && html`<code>${each.pointer}</code>`} ${each.detail}</li>`,
      )}</ul>`
    }
    ${problem.requestId && html`<p class="muted small">${W.problem.request} <code>${problem.requestId}</code></p>`}
    ${again && html`<button onClick=${again}>${W.again}</button>`}
  </div>`;
}

// What `load` returns, or its problem; loaded anew when `on` changes or `again` is called.
export function useLoaded(load, on) {
  const [state, setState] = useState({});
  const [tries, setTries] = useState(0);
  useEffect(() => {
    let current = true;
    load().then(
      (value) => current && setState({ value }),
      (problem) => current && setState((before) => ({ ...before, problem })),
    );
    return () => {
      current = false;
    };
  }, [...on, tries]);
  return [state.value, state.problem, () => setTries((before) => before + 1)];
}

// Calls `tick` now and again while the page can be seen.
export function useEvery(seconds, tick) {
  const latest = useRef(tick);
  latest.current = tick;
  useEffect(() => {
    const timer = setInterval(() => document.hidden || latest.current(), 1000 * seconds);
    return () => clearInterval(timer);
  }, [seconds]);
}

export function useTitle(title) {
  useEffect(() => {
    document.title = title ? `${title} \u00b7 ${W.product}` : W.product;
  }, [title]);
}

// Numbers stand on the right. A table that is wider than the screen scrolls by itself.
export function Table({ label, head, rows, numbers = [] }) {
  const side = (at) => (numbers.includes(at) ? 'number' : undefined);
  return html`<div class="scroll" tabindex="0" role="region" aria-label=${label}><table>
    <thead><tr>${head.map((each, at) =>
      each ? html`<th scope="col" class=${side(at)}>${each}</th>` : html`<td></td>`,
    )}</tr></thead>
    <tbody>${rows.map(
      (row) =>
        html`<tr class=${row.emphasis ? 'chosen' : undefined}>${(row.cells || row).map((cell, at) =>
          at ? html`<td class=${side(at)}>${cell}</td>` : html`<th scope="row">${cell}</th>`,
        )}</tr>`,
    )}
    </tbody></table></div>`;
}

export function Tile({ value, label, note }) {
  return html`<div class="tile"><p class="big">${value}</p><p>${label}</p>
    ${note && html`<p class="muted small">${note}</p>`}</div>`;
}

export function Copy({ text, label }) {
  const [copied, setCopied] = useState(false);
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(text);
      setCopied(true);
    } catch {
      /* not allowed: it can be selected */
    }
  };
  return html`<figure class="code"><figcaption>${label}
    <button class="quiet" onClick=${copy}>${copied ? W.copied : W.copy}</button></figcaption>
    <pre tabindex="0" aria-label=${label}>${text}</pre></figure>`;
}

export function Bar({ share, label }) {
  return html`<progress max="1" value=${share} aria-label=${label}>${Math.round(100 * share)} %</progress>`;
}

export function Tabs({ base, tabs, current }) {
  return html`<nav class="tabs" aria-label=${W.tabs}>${tabs.map(
    ([name, title]) => html`<a
    href=${`${base}/${name}`} aria-current=${name === current ? 'page' : undefined}>${title}</a>`,
  )}</nav>`;
}

export const Variants = ({ all, chosen, choose }) => html`<fieldset class="choices">
  <legend>${W.variants}</legend>${all.map(
    (name) => html`<label><input type="checkbox" checked=${chosen.includes(name)}
    disabled=${chosen.length === 1 && chosen[0] === name}
    onChange=${(event) => choose(all.filter((each) => (each === name ? event.target.checked : chosen.includes(each))))}
    />${name}</label>`,
  )}</fieldset>`;

// The original and the recommended variant, which every comparison begins with.
export function usualVariants(variants) {
  const names = variants.map((each) => each.name);
  const best = variants.find((each) => each.recommended) || variants[variants.length - 1];
  return best && best.name !== names[0] ? [names[0], best.name] : names.slice(0, 1);
}
