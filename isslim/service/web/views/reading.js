// What is read of a model: layers, proof, card, files, how to use it.
import {
  html,
  List,
  Waiting,
  bestOf,
  route,
  useEffect,
  useState,
  download,
  Table,
  count,
  percent,
  short,
  W,
  exponent,
  text,
  Problem,
  useLoaded,
  get,
  origin,
  save,
  Copy,
  bytes,
} from '../page.js';

// The Markdown of cards as elements: headings, paragraphs, lists, tables, code, pictures. All text is text.

// A picture of the bundle: fetched with the key, shown from its bytes.
function Picture({ path, words }) {
  const [source, setSource] = useState('');
  useEffect(() => {
    let current = true;
    download(path).then(
      (found) => {
        const reader = new FileReader();
        reader.onload = () => current && setSource(reader.result);
        reader.readAsDataURL(
          new Blob([found], { type: path.endsWith('.svg') ? 'image/svg+xml' : 'image/png' }),
        );
      },
      () => {},
    );
    return () => {
      current = false;
    };
  }, [path]);
  return source ? html`<img src=${source} alt=${words} />` : html`<em class="muted">${words}</em>`;
}

const INLINE =
  /(`+)(.+?)\1|\*\*(.+?)\*\*|\*(.+?)\*|!\[((?:\\.|[^\]])*)\]\(([^)\s]+)\)|\[((?:\\.|[^\]])*)\]\(([^)\s]+)\)|\\([!-/:-@[-`{-~])/;
const unescaped = (text) => text.replace(/\\([!-/:-@[-`{-~])/g, '$1');

export function inline(text) {
  const found = INLINE.exec(text);
  if (!found)
    return text ? [text.replaceAll('&lt;', '<').replaceAll('&gt;', '>').replaceAll('&amp;', '&')] : [];
  const [all, , code, bold, italic, alt, picture, link, target, plain] = found;
  let here = plain;
  if (code) here = html`<code>${code}</code>`;
  else if (bold) here = html`<b>${inline(bold)}</b>`;
  else if (italic) here = html`<em>${inline(italic)}</em>`;
  else if (picture)
    here = picture.startsWith('/models/')
      ? html`<${Picture} path=${picture} words=${unescaped(alt)} />`
      : unescaped(alt);
  // A card is another's text: an address in it is shown, and never followed by a click.
  else if (target) here = html`${inline(link)} <span class="muted">(${target})</span>`;
  return [...inline(text.slice(0, found.index)), here, ...inline(text.slice(found.index + all.length))];
}

const cells = (line) =>
  line
    .trim()
    .replace(/^\||\|$/g, '')
    .split(/(?<!\\)\|/)
    .map((each) => inline(each.trim().replaceAll('\\|', '|')));
const LIST = /^\s*[-*] /;

function block(lines) {
  const [first] = lines;
  const heading = /^(#{1,6}) (.*)$/.exec(first);
  if (heading) {
    // The page has its own first heading.
    const level = `h${Math.min(6, heading[1].length + 1)}`;
    return html`<${level}>${inline(heading[2])}</${level}>`;
  }
  if (first.startsWith('|') && lines.length > 1) {
    const [head, , ...rows] = lines;
    const aligned = lines[1]
      .split('|')
      .slice(1)
      .flatMap((each, at) => (each.trim().endsWith(':') ? [at] : []));
    return html`<${Table} label=${lines[0].replaceAll('|', ' ').trim()} head=${cells(head)} rows=${rows.map(cells)} numbers=${aligned} />`;
  }
  if (LIST.test(first)) {
    const items = lines.reduce(
      (all, line) =>
        LIST.test(line)
          ? [...all, line.replace(LIST, '')]
          : [...all.slice(0, -1), `${all[all.length - 1]} ${line.trim()}`],
      [],
    );
    return html`<ul>${items.map((each) => html`<li>${inline(each)}</li>`)}</ul>`;
  }
  return html`<p>${inline(lines.join(' '))}</p>`;
}

export function Markdown({ source }) {
  const body = source.replace(/^---\n[\s\S]*?\n---\n/, '');
  const found = [];
  body.split(/^(```[^\n]*\n[\s\S]*?^```)$/m).forEach((part, at) => {
    if (at % 2) {
      found.push(html`<pre tabindex="0">${part.replace(/^```[^\n]*\n|\n?```$/g, '')}</pre>`);
      return;
    }
    for (const lines of part.split(/\n\s*\n/).map((each) => each.split('\n').filter((line) => line.trim()))) {
      if (lines.length) found.push(block(lines));
    }
  });
  return found;
}

// What is left of each layer: units before and after, parameters and work.

const Share = ({
  share,
  label,
}) => html`<svg class="stack" viewBox="0 0 100 10" preserveAspectRatio="none" role="img" aria-label=${label}>
  <rect width=${100 * Math.min(1, share)} height="10" /></svg>`;

function Whole({ title, before, after }) {
  if (!before) return ''; // it was not counted
  return html`<div class="layer"><span>${title}</span><${Share} share=${after / before} label=${W.layers.left(title, percent(after / before))} />
    <span>${short(before)} \u2192 ${short(after)} <span class="muted">(${percent(after / before)})</span></span></div>`;
}

export function Layers({ manifest, report }) {
  const [original] = manifest.variants;
  const best = bestOf(manifest.variants);
  const after = new Map(best.parts.map((each) => [each.name, each]));
  const added = best.parts.filter((each) => !original.parts.some((one) => one.name === each.name));
  return html`<h2>${W.layers.units}</h2>
    ${manifest.axes.map(
      (axis) => html`<div class="layer"><span>${axis.label}</span>
      <${Share} share=${axis.kept / axis.original} label=${W.layers.left(axis.label, percent(axis.kept / axis.original))} />
      <span>${count(axis.original)} \u2192 ${count(axis.kept)}</span></div>`,
    )}
    <h2>${W.layers.work}</h2>
    <${Whole} title=${W.layers.parameters} before=${original.parameters} after=${best.parameters} />
    <${Whole} title=${W.layers.multAdds} before=${original.mult_adds} after=${best.mult_adds} />
    <${Table} label=${W.layers.table} head=${W.layers.head} numbers=${[1, 2, 3, 4]} rows=${[
      ...original.parts.map((part) => {
        const left = after.get(part.name);
        return [
          part.name,
          count(part.parameters),
          left ? count(left.parameters) : '\u2013',
          count(part.mult_adds),
          left ? count(left.mult_adds) : '\u2013',
        ];
      }),
      ...added.map((part) => [part.name, '\u2013', count(part.parameters), '\u2013', count(part.mult_adds)]),
    ]} />
    <${List} level="h2" title=${W.layers.notes} of=${report.notes} />`;
}

// What was proven of the model, and how its figures were found.

export function Proof({ manifest, report, kind }) {
  const conclusions = report.conclusions;
  const inspection = report.inspection;
  const verdict = conclusions
    ? [
        conclusions.advice,
        conclusions.speed,
        ...conclusions.further,
        conclusions.size,
        conclusions.quality,
        conclusions.sizes,
        ...conclusions.instead,
        ...conclusions.reservations,
      ].filter(Boolean)
    : [report.verdict];
  return html`<h2>${W.proof.heading}</h2><p>${W.proof.text}</p>
    <${Table} label=${W.proof.heading} head=${W.proof.head} numbers=${[2, 3]} rows=${manifest.checks.map(
      (each) => [`\u2713 ${each.name}`, each.detail, exponent(each.error), exponent(each.tolerance)],
    )} />
    ${
      inspection &&
      html`<${Table} label=${W.proof.sent} head=${W.proof.sentHead}
      rows=${inspection.checks.map((each) => [each.name, each.expected, each.found, each.tolerance])} />`
    }
    <${List} level="h2" title=${W.proof.verdict} of=${verdict} />
    <${List} level="h2" title=${W.proof.leftOut} of=${report.left_out} />
    <${List} level="h2" title=${W.proof.cautions} of=${report.cautions} />
    ${kind && html`<p class="muted">${kind.interval_note}</p>`}`;
}

// The model's card, as it is in the bundle.

export function Card({ id }) {
  const [card, problem, again] = useLoaded(() => text(route('models', id, 'card')), [id]);
  return card == null
    ? html`<${Waiting} problem=${problem} again=${again} />`
    : html`<div class="card-text"><${Markdown} source=${card} /></div>`;
}

// The bundle's files, to download, with what proves that they arrived whole.

export function Files({ id, manifest }) {
  const [files, problem, again] = useLoaded(() => get(route('models', id, 'files')), [id]);
  const [failed, setFailed] = useState(null);
  const download = (path) => {
    setFailed(null);
    const address = route('models', id, 'files', ...path.split('/'));
    save(address, `${manifest.name}-${path.replaceAll('/', '-')}`).catch(setFailed);
  };
  return html`<h2>${W.files.heading}</h2><${Problem} problem=${problem || failed} again=${problem && again} />
    ${
      files &&
      html`<${Table} label=${W.files.heading} head=${W.files.head} numbers=${[1]} rows=${files.map((each) => [
        html`<button class="quiet" onClick=${() => download(each.path)}>${each.path}</button>`,
        bytes(each.size_bytes),
        html`<code>${each.sha256}</code>`,
      ])} />`
    }
    <${Copy} label=${W.files.pull} text=${`isslim pull ${manifest.name} --out ${manifest.name} --url ${origin()}`} />`;
}

// The model from a program: commands with this host and this model filled in.

const json = (value) => JSON.stringify(value);
const CURL = (path, body) =>
  `curl -s ${origin()}${path} -H 'content-type: application/json' \\\n  -d '${json(body).replaceAll("'", "'\\''")}'`;

const python = (line) => `from isslim import Client\n\nwith Client("${origin()}") as client:\n    ${line}`;

// Per kind of model what is shown: the title and the text to copy.
const PROGRAMS = {
  'language-model': (name, best) => [
    ['curl', CURL('/score', { model: name, texts: ['some text'], variants: ['original', best] })],
    ['curl, text', CURL('/generate', { model: name, prompt: 'some text', max_tokens: 20, seed: 1 })],
    ['Python', python(`print(client.score("${name}", ["some text"]).variants[1].perplexity)`)],
    [
      'openai',
      [
        'from openai import OpenAI\n',
        `client = OpenAI(base_url="${origin()}/v1", api_key="none")`,
        `answer = client.completions.create(model="${name}:${best}", prompt="some text", max_tokens=20)`,
        'print(answer.choices[0].text)',
      ].join('\n'),
    ],
  ],
  'question-answering': (name, best) => [
    [
      'curl',
      CURL('/qa', {
        model: name,
        question: 'Who sat?',
        context: 'The cat sat on the mat.',
        variants: ['original', best],
        top_k: 3,
      }),
    ],
    [
      'Python',
      python(`print(client.answer("${name}", "Who sat?", "The cat sat on the mat.").variants[0].answers[0])`),
    ],
  ],
  graph: (name, best) => [
    [
      'curl, npz',
      `curl -s ${origin()}/models/${name}/run -H 'content-type: application/x-npz' \\\n  --data-binary @inputs.npz -o outputs.npz`,
    ],
    ['Python', python(`print(client.run("${name}", inputs)["${best}"].outputs)`)],
    [
      'tritonclient',
      [
        'import tritonclient.http as triton\n',
        `client = triton.InferenceServerClient("${origin().replace(/^https?:\/\//, '')}")`,
        `print(client.get_model_metadata("${name}", "${best}"))`,
      ].join('\n'),
    ],
  ],
};

export function Use({ id, manifest, kind, unserved }) {
  const best = bestOf(manifest.variants);
  const programs = (PROGRAMS[manifest.task] || (() => []))(manifest.name, best.name);
  return html`<h2>${W.use.heading}</h2><p>${unserved || html`${W.use.text} <code>${kind.endpoint}</code>`}. ${W.use.id} <code>${id}</code>.</p>
    ${programs.map(([title, text]) => html`<${Copy} label=${title} text=${text} />`)}
    <p><a href="../docs">${W.docs}</a></p>`;
}
