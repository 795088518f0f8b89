// Which field of the form a dropped file belongs in, by its name and its first bytes.
const PEEK = 65536;

export const FIELDS = [
  'model',
  'model_data',
  'config',
  'vocabulary',
  'vectors',
  'characters',
  'train',
  'calibration',
  'held_out',
  'check',
  'check_graph',
  'check_graph_data',
];

const NAMED = [
  [/vocab|^words|tokenizer|^tokens/, 'vocabulary'],
  [/^char/, 'characters'],
  [/^check/, 'check'],
  [/held|valid|dev|test|eval/, 'held_out'],
  [/calib/, 'calibration'],
  [/train/, 'calibration'],
];
const byName = (name) => (NAMED.find(([pattern]) => pattern.test(name)) || [])[1];

// A list of words has one on every line, and none twice.
function looksLikeWords(text) {
  const lines = text
    .split('\n')
    .slice(0, -1)
    .filter((each) => each.length);
  return (
    lines.length > 3 &&
    lines.every((each) => !/\s/.test(each.trim())) &&
    new Set(lines).size > 0.98 * lines.length
  );
}

async function ofText(file, name) {
  const start = await file.slice(0, PEEK).text();
  if (looksLikeWords(start)) {
    const single = start
      .split('\n')
      .filter(Boolean)
      .every((each) => Array.from(each).length === 1);
    return single && /char|letter/.test(name) ? 'characters' : 'vocabulary';
  }
  const named = byName(name);
  return named === 'vocabulary' ? undefined : named;
}

async function ofJson(file, name) {
  const start = (await file.slice(0, PEEK).text()).trimStart();
  if (/"(paragraphs|context|question)"\s*:/.test(start)) return byName(name);
  if (
    start.startsWith('[') ||
    /^\{\s*"(version|model|added_tokens|truncation)"/.test(start) ||
    /vocab|words|tokenizer/.test(name)
  )
    return 'vocabulary';
  return 'config';
}

async function fieldOf(file) {
  const name = file.name.toLowerCase();
  if (/\.onnx[._]?data$|\.data$/.test(name)) return 'model_data';
  if (/\.(pt|pth|bin|ckpt|safetensors)$/.test(name)) return 'model';
  if (/\.onnx$/.test(name)) return 'graph';
  if (/\.npy$/.test(name)) return 'vectors';
  if (/\.npz$/.test(name)) return byName(name) || 'data';
  if (/\.json$/.test(name)) return (await ofJson(file, name)) || 'data';
  return (await ofText(file, name)) || 'data';
}

// Files with their fields; each field is given once, and what has no place of its own is data.
export async function sorted(files) {
  const found = await Promise.all(files.map(async (file) => ({ file, field: await fieldOf(file) })));
  const taken = new Set();
  const weights = found.some((each) => each.field === 'model');
  for (const each of found) {
    if (each.field === 'graph') each.field = weights ? 'check_graph' : 'model';
    if (each.field === 'data') continue;
    if (taken.has(each.field)) each.field = 'data';
    taken.add(each.field);
  }
  // The larger text is what is learned from, the smaller what is held out.
  const data = found.filter((each) => each.field === 'data').sort((a, b) => b.file.size - a.file.size);
  for (const each of data) {
    each.field = ['calibration', 'held_out', 'train', ''].find((field) => !taken.has(field));
    taken.add(each.field);
  }
  return found;
}

// The kind that the files suggest, for the words of its budget until an inspection has said it.
export function suggestedKind(entries) {
  const model = entries.find((each) => each.field === 'model');
  if (model && /\.onnx$/i.test(model.file.name)) return 'onnx-graph';
  return entries.some((each) => each.field === 'vectors') ? 'question-answering' : 'language-model';
}
