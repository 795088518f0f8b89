// Small parts of every screen: problems, loading, tables, tiles, copied commands.
import { html, useEffect, useRef, useState } from './vendor/preact.js';
import { asks } from './api.js';
import { W } from './words.js';

// What is there only now and then keeps an element around it: where a component between others becomes
// another element, or none, Preact 10.5 puts what is after it in front of what was before.
export function Problem({ problem, again }) {
  if (!problem) return html`<div></div>`;
  const network = problem instanceof TypeError;
  // Of a request, or of a job that failed.
  const issues = problem.errors || (problem.issues || []).map((detail) => ({ detail }));
  return html`<div><div class="card problem" role="alert">
    <h2>${network ? W.problem.network : problem.title || W.problem.here}</h2>
    <p>${network ? W.problem.networkText : problem.detail || problem.message}</p>
    ${
      issues.length > (problem.errors ? 1 : 0) &&
      html`<ul>${issues.map(
        (each) => html`<li>${each.pointer && html`<code>${each.pointer}</code>`} ${each.detail}</li>`,
      )}</ul>`
    }
    ${problem.after && html`<p>${W.problem.after(problem.after)}</p>`}
    ${problem.requestId && html`<p class="muted small">${W.problem.request} <code>${problem.requestId}</code></p>`}
    ${again && html`<button onClick=${again}>${W.again}</button>`}
  </div></div>`;
}

// In place of a screen whose content is not there yet, or cannot be had.
export const Waiting = ({ title, problem, again }) =>
  html`${title && html`<h1>${title}</h1>`}${
    problem ? html`<${Problem} problem=${problem} again=${again} />` : html`<p class="muted">${W.loading}</p>`
  }`;

// Calls again by itself what may work soon: the network is away, or the service has said when.
function soon(problem, again) {
  const seconds = problem instanceof TypeError ? 2 : problem.after;
  return seconds && setTimeout(again, 1000 * seconds);
}

// Asks again with another key: what was typed and chosen meanwhile stays.
export function useKey(again) {
  const latest = useRef(again);
  latest.current = again;
  useEffect(() => {
    const given = () => latest.current();
    asks.addEventListener('given', given);
    return () => asks.removeEventListener('given', given);
  }, []);
}

// What `load` returns, or its problem; loaded anew when `on` changes or `again` is called.
export function useLoaded(load, on) {
  const [state, setState] = useState({});
  const [tries, setTries] = useState(0);
  const again = () => setTries((before) => before + 1);
  useKey(again);
  useEffect(() => {
    let current = true;
    let timer;
    load().then(
      (value) => current && setState({ value }),
      (problem) => {
        if (!current) return;
        setState((before) => ({ ...before, problem }));
        timer = soon(problem, again);
      },
    );
    return () => {
      current = false;
      clearTimeout(timer);
    };
  }, [...on, tries]);
  return [state.value, state.problem, again];
}

// A view whose module is loaded when it is first shown.
export function Lazy({ file, name, ...rest }) {
  const [found, problem] = useLoaded(() => import(`./views/${file}.js`), [file]);
  if (problem) return html`<${Problem} problem=${problem} />`;
  const view = found && found[name];
  return view ? html`<${view} ...${rest} />` : html`<p class="muted">${W.loading}</p>`;
}

// The answer to what is being typed, asked for after a pause as long as an answer takes, within
// limits. One to an older text is never shown. `ask` is null where there is nothing to ask.
export function useAnswer(ask, on, [least, most]) {
  const [state, setState] = useState({});
  const took = useRef(least);
  const [tries, setTries] = useState(0);
  useKey(() => state.problem && setTries(tries + 1));
  useEffect(() => {
    if (!ask) {
      setState({});
      return undefined;
    }
    const cancel = new AbortController();
    let timer;
    const asked = async () => {
      const began = performance.now();
      try {
        const found = await ask({ signal: cancel.signal });
        took.current = performance.now() - began;
        setState(found);
      } catch (problem) {
        if (cancel.signal.aborted) return;
        setState({ problem });
        timer = soon(problem, asked);
      }
    };
    timer = setTimeout(asked, Math.max(least, Math.min(most, took.current)));
    return () => {
      clearTimeout(timer);
      cancel.abort();
    };
  }, [...on, tries]);
  return state;
}

// What somebody types is still there when they come back from another tab or screen.
const drafts = {};
export function useDraft(name, first) {
  const [value, setValue] = useState(drafts[name] ?? first);
  const set = (next) => {
    drafts[name] = next;
    setValue(next);
  };
  return [value, set];
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

// Remarks under a heading; nothing where there are none.
export const List = ({ title, of, level = 'h3' }) =>
  html`<div>${of.length > 0 && html`<${level}>${title}</${level}><ul>${of.map((each) => html`<li>${each}</li>`)}</ul>`}</div>`;

// Numbers stand on the right. A table that is wider than the screen scrolls by itself.
export function Table({ label, head, rows, numbers = [] }) {
  if (!rows.length) return html`<div></div>`;
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

export const bestOf = (variants) =>
  variants.find((each) => each.recommended) || variants[variants.length - 1];

// The original and the recommended variant, which every comparison begins with.
export const usualVariants = (variants) =>
  [...new Set([variants[0], bestOf(variants)])].map((each) => each.name);

// Every variant of the models that are whole, for fields that choose one.
export const choicesOf = (models) =>
  models
    .filter((each) => !each.issues.length)
    .flatMap((model) =>
      model.variants.map((variant) => ({
        key: `${model.id}:${variant.name}`,
        model,
        variant,
        label: `${model.name}: ${variant.name}`,
      })),
    );

export const Options = ({ of }) => of.map(({ key, label }) => html`<option value=${key}>${label}</option>`);

export const primaryOf = (records) => records.find((each) => each.primary) || records[0];
