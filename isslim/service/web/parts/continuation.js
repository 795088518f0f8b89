// The text continued by several variants at once, from one seed: where they part, the models differ.
import { html, useEffect, useRef, useState } from '../vendor/preact.js';
import { stream } from '../api.js';
import { Problem } from './common.js';
import { milliseconds, times } from '../format.js';
import { W } from '../words.js';

function Written({ variant, text, first, done, prompt }) {
  // The part that both wrote is plain; from where they part it is marked.
  const own = Array.from(text);
  const other = Array.from(first);
  let same = 0;
  while (same < own.length && same < other.length && own[same] === other[same]) same += 1;
  return html`<div class="written"><h3>${variant}</h3>
    <p><span class="muted">${prompt}</span>${own.slice(0, same).join('')}<mark>${own.slice(same).join('')}</mark></p>
    ${done && html`<p class="muted small">${done}</p>`}</div>`;
}

export function Continuation({ model, prompt, variants }) {
  const [options, setOptions] = useState({ max_tokens: 40, temperature: 0.7, seed: 7 });
  const [state, setState] = useState({ texts: {} });
  const running = useRef(null);
  useEffect(() => () => running.current && running.current.abort(), []);
  const stop = () => {
    running.current.abort();
    running.current = null;
    setState((before) => ({ ...before, busy: false }));
  };
  const begin = async (event) => {
    event.preventDefault();
    const cancel = new AbortController();
    running.current = cancel;
    setState({ texts: {}, prompt: prompt.replace(/\s+$/, ''), busy: true, asked: variants });
    const heard = (name, data) => {
      if (cancel.signal.aborted) return;
      setState((before) => {
        if (name === 'token') {
          const texts = { ...before.texts, [data.variant]: (before.texts[data.variant] || '') + data.text };
          return { ...before, texts };
        }
        if (name === 'result') return { ...before, result: data };
        return { ...before, problem: data };
      });
    };
    const json = { model, prompt: prompt.replace(/\s+$/, ''), variants, stream: true, ...options };
    try {
      await stream('POST', '/generate', { json, signal: cancel.signal }, heard);
      setState((before) => ({ ...before, busy: false }));
    } catch (problem) {
      if (!cancel.signal.aborted) setState((before) => ({ ...before, busy: false, problem }));
    }
  };
  const number = (name, attributes) => html`<label>${W.write[name]}<input type="number" required
    value=${options[name]} ...${attributes} onInput=${(event) =>
      event.target.value !== '' &&
      setOptions({ ...options, [name]: Number(event.target.value) })} /></label>`;
  const timing = (variant) => {
    const found = state.result && state.result.variants.find((each) => each.variant === variant);
    if (!found || found.timing.token_ms == null) return '';
    const faster = found.speedup ? ` \u00b7 ${W.text.once(times(found.speedup))}` : '';
    return `${W.write.each(milliseconds(found.timing.token_ms), found.drawn)}${faster}`;
  };
  const asked = state.asked || [];
  return html`<section class="write"><h2>${W.write.title}</h2>
    <form class="row wrap" onSubmit=${begin}>
      ${number('max_tokens', { min: 1, max: 400 })} ${number('temperature', { min: 0, max: 5, step: 0.1 })}
      ${number('seed', { min: 0, max: 9007199254740991 })}
      ${
        state.busy
          ? html`<button type="button" onClick=${stop}>${W.write.stop}</button>`
          : html`<button class="primary">${W.write.begin}</button>`
      }
    </form>
    <${Problem} problem=${state.problem} />
    ${
      asked.length > 0 &&
      html`<div class="columns" aria-busy=${state.busy ? 'true' : 'false'}>${asked.map(
        (variant) => html`<${Written}
      variant=${variant} text=${state.texts[variant] || ''} first=${state.texts[asked[0]] || ''}
      prompt=${state.prompt} done=${timing(variant)} />`,
      )}</div>
      ${asked.length > 1 && html`<p class="muted small">${W.write.marked}</p>`}`
    }
  </section>`;
}
