// The model from a program: commands with this host and this model filled in.
import { html } from '../vendor/preact.js';
import { origin } from '../api.js';
import { Copy } from '../parts/common.js';
import { bestOf } from '../parts/verdict.js';
import { W } from '../words.js';

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
  'onnx-graph': (name, best) => [
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

export default function Use({ id, manifest, kind }) {
  const best = bestOf(manifest.variants);
  const programs = (PROGRAMS[manifest.task] || (() => []))(manifest.name, best.name);
  return html`<h2>${W.use.heading}</h2><p>${W.use.text} <code>${kind ? kind.endpoint : ''}</code>. ${W.use.id} <code>${id}</code>.</p>
    ${programs.map(([title, text]) => html`<${Copy} label=${title} text=${text} />`)}
    <p><a href="../docs">${W.docs}</a></p>`;
}
