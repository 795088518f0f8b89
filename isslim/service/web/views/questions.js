// A reader tried: answers of the variants, marked in the text.
import {
  html,
  useAnswer,
  useDraft,
  useState,
  post,
  Problem,
  Variants,
  usualVariants,
  milliseconds,
  percent,
  times,
  W,
} from '../page.js';

// A text with the answers of several variants marked in it. Positions are code points, not UTF-16.

// The text in pieces, each with the variants (by their place) whose answer covers it.
export function pieces(text, spans) {
  const points = Array.from(text);
  const edges = new Set([0, points.length]);
  for (const { start, end } of spans) {
    edges.add(Math.min(start, points.length));
    edges.add(Math.min(end, points.length));
  }
  const at = [...edges].sort((a, b) => a - b);
  return at.slice(1).map((end, index) => {
    const start = at[index];
    const by = spans.flatMap((each, place) => (each.start <= start && each.end >= end ? [place] : []));
    return { text: points.slice(start, end).join(''), by };
  });
}

const STYLES = { 0: 'first', 1: 'second' };
export function Marked({ text, spans }) {
  return html`<p class="passage">${pieces(text, spans).map(({ text: piece, by }) => {
    if (!by.length) return piece;
    return html`<mark class=${by.length > 1 ? 'both' : STYLES[by[0]] || 'second'}>${piece}</mark>`;
  })}</p>`;
}

// Questions to a text: the answers of several variants, marked in it and side by side.

const PAUSE = [120, 500];
const TOP = 3;

function Answers({ each, place }) {
  const [answer] = each.answers;
  return html`<div><h3><i class=${`lane lane${place} step2`}></i>${each.variant}</h3>
    <p class="muted small">${milliseconds(each.timing.run_ms)}${
      place && each.speedup ? ` \u00b7 ${W.text.once(times(each.speedup))}` : ''
    }</p>
    <ol class="likely answers">${answer.top_k.map(
      (one) => html`<li><span class="answer">${one.answer}</span>
      <meter min="0" max="1" value=${one.score} aria-label=${one.answer}></meter><span>${percent(one.score)}</span></li>`,
    )}</ol></div>`;
}

export function TryQuestions({ id, manifest, report }) {
  const first = report.samples[0] || { asked: W.questions.question, context: W.questions.context };
  const [question, setQuestion] = useDraft(`question ${id}`, first.asked);
  const [context, setContext] = useDraft(`context ${id}`, first.context);
  const [variants, setVariants] = useState(usualVariants(manifest.variants));
  const ask = async (options) => {
    const asked = { model: id, question, context, variants, top_k: TOP };
    return { found: await post('/qa', asked, options), answered: context };
  };
  const { found, answered, problem } = useAnswer(
    question.trim() && context.trim() && ask,
    [id, question, context, variants.join()],
    PAUSE,
  );
  const choose = (event) => {
    const sample = report.samples[Number(event.target.value)];
    setQuestion(sample.asked);
    setContext(sample.context);
  };
  const best = found ? found.variants.map((each) => each.answers[0]) : [];
  const same = best.every((each) => each.start === best[0].start && each.end === best[0].end);
  return html`
    <h2><label for="question">${W.questions.ask}</label></h2>
    ${
      report.samples.length > 0 &&
      html`<p class="row wrap"><label>${W.questions.samples}<select onChange=${choose}>
      ${report.samples.map((each, at) => html`<option value=${at}>${each.asked}</option>`)}</select></label></p>`
    }
    <input id="question" class="wide" value=${question} onInput=${(event) => setQuestion(event.target.value)} />
    <label class="field"><span>${W.questions.text}</span>
      <textarea rows="5" value=${context} onInput=${(event) => setContext(event.target.value)}></textarea></label>
    <${Variants} all=${manifest.variants.map((each) => each.name)} chosen=${variants} choose=${setVariants} />
    <${Problem} problem=${problem} />
    ${
      found &&
      html`
      <p class="muted" aria-live="polite">${same ? W.questions.same : W.questions.differ}</p>
      <${Marked} text=${answered} spans=${best} />
      <p class="legend">${found.variants.map(
        (each, place) => html`<span><mark class=${place ? 'second' : 'first'}>${each.variant}</mark></span>`,
      )}</p>
      <div class="columns">${found.variants.map((each, place) => html`<${Answers} key=${each.variant} each=${each} place=${place} />`)}</div>`
    }`;
}
