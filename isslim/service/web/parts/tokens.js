// A text token by token, a lane for each variant: how surprised it was, and where the variants differ.
import { html, useEffect, useState } from '../vendor/preact.js';
import { bits, plain, signed } from '../format.js';
import { W } from '../words.js';

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
