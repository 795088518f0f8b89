// A language model tried: a text token by token as it is typed, and its continuation.
import {
  html,
  useAnswer,
  useDraft,
  useEffect,
  useState,
  bits,
  figure,
  plain,
  signed,
  W,
  useRef,
  stream,
  Problem,
  milliseconds,
  times,
  post,
  Variants,
  usualVariants,
} from '../page.js';

// A text token by token, a lane for each variant: how surprised it was, and where the variants differ.

const STEPS = [1, 3, 6, 10]; // bits at which a lane grows
export const APART = 0.5; // bits from which two variants are said to differ
export const stepOf = (surprisal) => STEPS.filter((each) => surprisal >= each).length;

const WHITE = { ' ': '\u2423', '\n': '\u23ce', '\t': '\u21e5' };
export const shown = (token) =>
  token === '' ? '\u2205' : Array.from(token, (each) => WHITE[each] || each).join('');

// The places of a text: its token, and for each variant its bits and how many more than the first's.
export function placesOf(scored) {
  const [first, ...others] = scored;
  return first.tokens.map((token, at) => {
    const own = [first, ...others].map(({ variant, tokens }) => {
      const found = tokens[at];
      return { variant, top: found.top, bits: found.log_prob == null ? null : bits(found.log_prob) };
    });
    const more = own.slice(1).map((each) => (each.bits == null ? 0 : each.bits - own[0].bits));
    const most = more.reduce((far, each) => (Math.abs(each) > Math.abs(far) ? each : far), 0);
    return { token: token.token, own, most };
  });
}

export function largest(places) {
  return places.reduce(
    (best, each, at) => (Math.abs(each.most) > Math.abs(places[best].most) ? at : best),
    0,
  );
}

const inWords = (place) =>
  [
    shown(place.token),
    ...place.own.map(({ variant, bits: found }) =>
      found == null ? W.tokens.given : W.tokens.lane(variant, plain(found)),
    ),
  ].join('; ');

function Place({ place, at, selected, dimmed, select }) {
  const differs = Math.abs(place.most) > APART;
  const side = differs ? (place.most > 0 ? 'worse' : 'better') : '';
  return html`<li role="option" id=${`token-${at}`} aria-selected=${selected ? 'true' : 'false'} aria-label=${inWords(place)}
      class=${`token ${side} ${dimmed && !differs ? 'dim' : ''}`} onClick=${() => select(at)} onMouseEnter=${() => select(at)}>
    <span class="word">${shown(place.token)}</span>
    ${place.own.map(
      ({ bits: found }, lane) =>
        html`<span class=${
          found == null ? 'lane none' : `lane lane${Math.min(lane, 3)} step${stepOf(found)}`
        }></span>`,
    )}
    <span class="delta">${differs ? `${place.most > 0 ? '\u25b2' : '\u25bd'}${plain(Math.abs(place.most), 1)}` : ''}</span>
  </li>`;
}

export function TokenStrip({ places, dimmed }) {
  const [chosen, setChosen] = useState(null);
  useEffect(() => setChosen(null), [places.map((each) => each.token).join('\u0000')]);
  const at = chosen == null || chosen >= places.length ? largest(places) : chosen;
  const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: 10, ArrowUp: -10, Home: -Infinity, End: Infinity };
  const move = (event) => {
    if (!(event.key in step)) return;
    event.preventDefault();
    setChosen(Math.max(0, Math.min(places.length - 1, at + step[event.key])));
  };
  const lanes = places[0].own;
  return html`
    ${
      lanes.length > 1 &&
      html`<p class="legend"><span><i class="mark worse">\u25b2</i>${W.tokens.worse(lanes.length > 2)}</span>
      <span><i class="mark better">\u25bd</i>${W.tokens.better}</span></p>`
    }
    <ul class="strip" style=${{ '--lanes': String(lanes.length) }} role="listbox" tabindex="0"
      aria-label=${W.tokens.label} aria-activedescendant=${`token-${at}`} onKeyDown=${move}>
      ${places.map(
        (place, each) => html`<${Place} place=${place} at=${each} selected=${each === at}
        dimmed=${dimmed} select=${setChosen} />`,
      )}</ul>
    <${Detail} place=${places[at]} at=${at} />`;
}

// Both lists of likely tokens for one place, and its numbers.
function Detail({ place, at }) {
  return html`<section class="detail" aria-label=${W.tokens.detail}>
    <h3><span class="muted">${W.tokens.place(at + 1)}</span> <code>${shown(place.token)}</code></h3>
    <div class="columns">${place.own.map(
      ({ variant, bits: found, top }, lane) => html`<div>
      <h4><i class=${`lane lane${Math.min(lane, 3)} step2`}></i>${variant}</h4>
      <p>${
        found == null
          ? W.tokens.given
          : html`<b>${plain(found)}</b> ${W.tokens.bits}${
              lane > 0 && place.own[0].bits != null
                ? html`<span class="muted"> (${signed(found - place.own[0].bits)})</span>`
                : ''
            }`
      }</p>
      ${
        top.length > 0 &&
        html`<ol class="likely">${top.map(
          (each) => html`<li class=${each.token === place.token ? 'hit' : ''}>
        <code>${shown(each.token)}</code><meter min="0" max="1" value=${Math.exp(each.log_prob)}
          aria-label=${shown(each.token)}></meter>
        <span>${(100 * Math.exp(each.log_prob)).toFixed(1)}\u202f%</span></li>`,
        )}</ol>`
      }
    </div>`,
    )}</div></section>`;
}

// A lower bound of the divergence from the first variant, in bits a token: what both lists of likely
// tokens hold is compared token by token, and all others as one.
export function divergence(places, lane) {
  let sum = 0;
  let counted = 0;
  for (const { own } of places) {
    const other = own[lane];
    if (own[0].bits == null || other.bits == null || !own[0].top.length) continue;
    const held = new Map(other.top.map((each) => [each.id, Math.exp(each.log_prob)]));
    let [ofFirst, ofOther, here] = [1, 1, 0];
    for (const each of own[0].top) {
      if (!held.has(each.id)) continue;
      const [p, q] = [Math.exp(each.log_prob), held.get(each.id)];
      here += p * Math.log2(p / q);
      ofFirst -= p;
      ofOther -= q;
    }
    if (ofFirst > 1e-9 && ofOther > 1e-9) here += ofFirst * Math.log2(ofFirst / ofOther);
    sum += Math.max(0, here);
    counted += 1;
  }
  return counted ? sum / counted : null;
}

// The text continued by several variants at once, from one seed: where they part, the models differ.

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

// A text as you type it, scored by several variants side by side, and continued by them.

const PAUSE = [60, 300]; // milliseconds after the last key
const TOP = 5;

function Totals({ scored, places }) {
  return html`<div class="totals">${scored.map((each, lane) => {
    const apart = lane ? divergence(places, lane) : null;
    const own = each.texts[0];
    return html`<div><h3><i class=${`lane lane${Math.min(lane, 3)} step2`}></i>${each.variant}</h3>
      <p class="big">${own.perplexity == null ? '\u2013' : figure(own.perplexity)}</p>
      <p>${W.text.perplexity}</p>
      <p class="muted small">${milliseconds(each.timing.run_ms)}${
        each.speedup && lane ? ` \u00b7 ${W.text.once(times(each.speedup))}` : ''
      }${apart == null ? '' : ` \u00b7 ${W.text.divergence(plain(apart, 3))}`}</p></div>`;
  })}</div>`;
}

// A text to begin with: an example where the model knows its words, else one that the original writes.
async function firstText(model) {
  const asked = { model, variants: ['original'] };
  const { variants: scored } = await post('/score', { ...asked, texts: [W.text.example] });
  if (!scored[0].texts[0].unknown) return W.text.example;
  const written = await post('/generate', { ...asked, max_tokens: 14, temperature: 0.7, seed: 3 });
  return written.variants[0].text;
}

export function TryText({ id, manifest }) {
  const [typed, setText] = useDraft(`text ${id}`);
  const [first, setFirst] = useState('');
  const text = typed ?? first;
  useEffect(() => {
    if (typed == null) firstText(id).then(setFirst, () => setFirst(W.text.example));
  }, [id]);
  const [variants, setVariants] = useState(usualVariants(manifest.variants));
  const [dimmed, setDimmed] = useState(false);
  const score = async (options) => {
    const asked = { model: id, texts: [text], variants, per_token: true, top_k: TOP };
    const found = await post('/score', asked, options);
    const scored = found.variants.map((each) => ({ ...each, tokens: each.texts[0].tokens }));
    return { scored, places: placesOf(scored) };
  };
  const { scored, places, problem } = useAnswer(text.trim() && score, [id, text, variants.join()], PAUSE);
  const unknown = scored ? scored[0].texts[0].unknown : 0;
  const differ = places ? places.filter((each) => Math.abs(each.most) > APART).length : 0;
  return html`
    <h2><label for="text">${W.text.label}</label></h2>
    <textarea id="text" rows="3" spellcheck="false" value=${text} onInput=${(event) => setText(event.target.value)}></textarea>
    <div class="row wrap"><${Variants} all=${manifest.variants.map((each) => each.name)} chosen=${variants} choose=${setVariants} />
      <label class="choice"><input type="checkbox" checked=${dimmed} onChange=${(event) => setDimmed(event.target.checked)} />
        ${W.text.differences}</label></div>
    <${Problem} problem=${problem} />
    ${
      scored &&
      places.length > 0 &&
      html`
      <${Totals} scored=${scored} places=${places} />
      <${TokenStrip} places=${places} dimmed=${dimmed} />
      <p class="muted small" aria-live="polite">${W.text.summary(places.length, differ, variants.length)}
        ${unknown ? ` ${W.text.unknown(unknown)}` : ''} ${W.text.scale}</p>`
    }
    ${!scored && !problem && html`<p class="muted">${text.trim() ? W.loading : W.text.empty}</p>`}
    <${Continuation} model=${id} prompt=${text} variants=${variants} />`;
}
