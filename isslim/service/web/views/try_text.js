// A text as you type it, scored by several variants side by side, and continued by them.
import { html, useEffect, useRef, useState } from '../vendor/preact.js';
import { post } from '../api.js';
import { Problem, Variants, usualVariants } from '../parts/common.js';
import { Continuation } from '../parts/continuation.js';
import { APART, TokenStrip, divergence, placesOf } from '../parts/tokens.js';
import { milliseconds, plain, times } from '../format.js';
import { W } from '../words.js';

const PAUSE = [60, 300]; // milliseconds after the last key: as long as an answer takes, within these
const TOP = 5;

// The scores of the newest text. An answer to an older one is never shown.
function useScores(model, text, variants) {
  const [state, setState] = useState({});
  const took = useRef(PAUSE[0]);
  useEffect(() => {
    if (!text.trim()) {
      setState({});
      return undefined;
    }
    const cancel = new AbortController();
    const ask = async () => {
      const began = performance.now();
      try {
        const found = await post(
          '/score',
          { model, texts: [text], variants, per_token: true, top_k: TOP },
          { signal: cancel.signal },
        );
        took.current = performance.now() - began;
        const scored = found.variants.map((each) => ({ ...each, tokens: each.texts[0].tokens }));
        setState({ scored, places: placesOf(scored) });
      } catch (problem) {
        if (!cancel.signal.aborted) setState((before) => ({ ...before, problem }));
      }
    };
    const timer = setTimeout(ask, Math.max(PAUSE[0], Math.min(PAUSE[1], took.current)));
    return () => {
      clearTimeout(timer);
      cancel.abort();
    };
  }, [model, text, variants.join()]);
  return state;
}

function Totals({ scored, places }) {
  return html`<div class="totals">${scored.map((each, lane) => {
    const apart = lane ? divergence(places, lane) : null;
    const own = each.texts[0];
    return html`<div><h3><i class=${`lane lane${Math.min(lane, 3)} step2`}></i>${each.variant}</h3>
      <p class="big">${own.perplexity == null ? '\u2013' : plain(own.perplexity)}</p>
      <p>${W.text.perplexity}</p>
      <p class="muted small">${milliseconds(each.timing.run_ms)}${
        each.speedup && lane ? ` \u00b7 ${W.text.once(times(each.speedup))}` : ''
      }${apart == null ? '' : ` \u00b7 ${W.text.divergence(plain(apart, 3))}`}</p></div>`;
  })}</div>`;
}

export default function TryText({ id, manifest }) {
  const [text, setText] = useState(W.text.example(manifest.text && manifest.text.unit));
  const [variants, setVariants] = useState(usualVariants(manifest.variants));
  const [dimmed, setDimmed] = useState(false);
  const { scored, places, problem } = useScores(id, text, variants);
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
