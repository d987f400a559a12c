// The page of the tab "Latent": panels side by side, each one run at one step, all of them showing
// the same direction or pair of images, their maps on one scale.

const QUESTIONS = {
  effect: "effect: what the generator changes",
  reading: "reading: where the network reads it",
  kept: "what the discriminator's features keep of it",
};
// Viridis at nine places; colours between them are mixed.
const VIRIDIS = [
  [68, 1, 84], [71, 44, 122], [59, 81, 139], [44, 113, 142], [33, 144, 141],
  [39, 173, 129], [92, 200, 99], [170, 220, 50], [253, 231, 37],
];
const STYLE = `
  :root { color-scheme: light dark; --line: #8886; --quiet: #5c5c5c; }
  @media (prefers-color-scheme: dark) { :root { --quiet: #a5a8ac; } }
  body { font: 14px/1.45 system-ui, sans-serif; margin: 1rem; }
  header { display: flex; flex-wrap: wrap; gap: .8rem; align-items: center; margin-bottom: 1rem; }
  main { display: flex; flex-wrap: wrap; gap: 1rem; align-items: flex-start; }
  article { border: 1px solid var(--line); border-radius: 8px; padding: .8rem; width: 34rem;
    max-width: 100%; box-sizing: border-box; }
  article label { display: flex; gap: .6rem; align-items: center; margin-bottom: .4rem; }
  article label span { flex: 0 0 3rem; }
  article select, article input { flex: 1; min-width: 0; }
  article output { flex: 0 0 6rem; text-align: right; font-variant-numeric: tabular-nums; }
  .strip { width: 100%; image-rendering: pixelated; display: block; margin: .5rem 0; }
  .maps { display: flex; flex-wrap: wrap; gap: 1rem; }
  figure { margin: 0; width: 15rem; max-width: 100%; } figcaption { font-size: 12px; }
  canvas.map { width: 100%; image-rendering: pixelated; display: block; }
  .bar { display: flex; gap: .4rem; align-items: center; font-size: 12px; margin-top: .2rem; }
  .bar canvas { flex: 1; height: .6rem; min-width: 0; }
  .quiet { color: var(--quiet); font-size: 13px; margin: .4rem 0 0; }
`;

const state = { entries: {}, entry: null, panels: [], turn: 0, addresses: [] };
const blobs = new Map();

export async function render() {
  document.documentElement.lang = "en";
  document.title = "Latent";
  document.head.append(element("style", { textContent: STYLE }));
  await reload();
}

async function reload() {
  blobs.clear(); // a run of the same name may have been made anew
  try {
    const response = await fetch("./entries");
    if (!response.ok) throw new Error(`TensorBoard answered ${response.status}`);
    state.entries = await response.json();
  } catch (error) {
    say(`What was logged could not be read: ${error.message}`);
    return;
  }
  const names = entryNames();
  if (!names.includes(state.entry)) state.entry = commonest(names);
  state.panels = state.panels.filter((panel) => panel.run in state.entries);
  if (!state.panels.length && names.length) state.panels = firstPanels();
  await draw();
}

function say(text) {
  document.body.replaceChildren(element("p", { textContent: text }), button("read again", reload));
}

function entryNames() {
  const all = Object.values(state.entries).flatMap((entries) => Object.keys(entries));
  const { compare } = new Intl.Collator("en", { numeric: true });
  const isPair = (name) => Number(name.startsWith("pair"));
  return [...new Set(all)].sort((a, b) => isPair(a) - isPair(b) || compare(a, b));
}

// What most runs have, so that panels of several are full.
function commonest(names) {
  const runs = Object.values(state.entries);
  const count = (name) => runs.filter((entries) => name in entries).length;
  return names.reduce((best, name) => (count(name) > count(best) ? name : best), names[0] ?? null);
}

// The last step of the first two runs, or the first and the last step of the only one.
function firstPanels() {
  const runs = Object.keys(state.entries).sort();
  if (runs.length > 1) return runs.slice(0, 2).map((run) => ({ run, step: Infinity }));
  const [run] = runs;
  const last = { run, step: Infinity };
  return stepsOf(run, state.entry).length > 1 ? [{ run, step: -Infinity }, last] : [last];
}

function stepsOf(run, entry) {
  return state.entries[run]?.[entry] ?? [];
}

// The place of the step that is nearest to the wanted one: other entries may have other steps.
function placeOf({ step }, steps) {
  if (step === Infinity) return steps.length - 1;
  const far = steps.map((one) => Math.abs(one.step - Math.max(step, 0)));
  return far.indexOf(Math.min(...far));
}

// What is shown is read from one moment's state; a later draw overtakes an earlier one.
async function draw() {
  const turn = ++state.turn, names = entryNames();
  if (!names.length) {
    say("No directions were logged yet: they come with the option atlases of latentkit fit, " +
      "every 500,000 training images and at the end.");
    return;
  }
  const shown = await Promise.all(state.panels.map((panel) => contentOf(panel, state.entry)));
  const addresses = shown.map((content) => content.strip).filter(Boolean);
  if (turn !== state.turn) {
    addresses.forEach((address) => URL.revokeObjectURL(address));
    return;
  }
  const limits = sharedLimits(shown), focused = document.activeElement?.dataset.key;
  const panels = shown.map((content, k) => panelOf(content, k, limits));
  document.body.replaceChildren(header(names), element("main", {}, panels));
  document.querySelector(`[data-key="${focused}"]`)?.focus();
  state.addresses.forEach((address) => URL.revokeObjectURL(address));
  state.addresses = addresses;
}

function header(names) {
  const choice = select("entry", "direction or pair", names, state.entry, (name) => {
    state.entry = name;
    draw();
  });
  const add = button("add a panel", () => {
    state.panels.push({ ...state.panels.at(-1) });
    draw();
  });
  const note = element("span", {
    className: "quiet", textContent: "maps of one kind have one scale in all panels",
  });
  return element("header", {}, [
    element("label", {}, ["Show ", choice]), add, button("read again", reload), note,
  ]);
}

function panelOf(content, index, limits) {
  const { run, problem } = content;
  const runs = select(`run ${index}`, "run", Object.keys(state.entries).sort(), run, (name) => {
    state.panels[index].run = name;
    draw();
  });
  const parts = [element("label", {}, [element("span", { textContent: "run" }), runs])];
  if (problem) parts.push(element("p", { className: "quiet", textContent: problem }));
  else parts.push(slider(content, index), ...pictures(content, limits));
  if (state.panels.length > 1) {
    parts.push(button("remove", () => {
      state.panels.splice(index, 1);
      draw();
    }, `remove ${index}`));
  }
  return element("article", { ariaLabel: `panel ${index + 1}` }, parts);
}

function slider({ steps, place }, index) {
  const input = element("input", {
    type: "range", min: 0, max: Math.max(steps.length - 1, 0), value: place, ariaLabel: "step",
  });
  input.dataset.key = `step ${index}`;
  const output = element("output", { textContent: steps[place].step.toLocaleString("en") });
  input.addEventListener("input", () => {
    output.textContent = steps[input.value].step.toLocaleString("en");
  });
  input.addEventListener("change", () => {
    state.panels[index].step = steps[input.value].step;
    draw();
  });
  return element("label", {}, [element("span", { textContent: "step" }), input, output]);
}

function pictures({ head, strip, maps, run, entry, steps, place }, limits) {
  const what = head.kind === "pair" ? "from one image to the other" : "along the direction";
  const walk = element("img", {
    className: "strip", src: strip,
    alt: `${head.frames} images ${what}, ${entry} of ${run} at step ${steps[place].step}`,
  });
  const figures = maps.map((map) => figureOf(map, limits[map.question]));
  const notes = head.notes.map((text) => element("p", { className: "quiet", textContent: text }));
  return [walk, element("div", { className: "maps" }, figures), ...notes];
}

function figureOf({ question, height, width, values }, limit) {
  const canvas = element("canvas", { className: "map", width, height });
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", QUESTIONS[question] ?? question);
  paint(canvas, values, limit);
  const scale = element("canvas", { width: 64, height: 1, ariaHidden: "true" });
  paint(scale, Float32Array.from({ length: 64 }, (_, k) => (k / 63) * limit), limit);
  const ends = ["0", limit.toPrecision(2)].map((text) => element("span", { textContent: text }));
  return element("figure", {}, [
    canvas,
    element("div", { className: "bar" }, [ends[0], scale, ends[1]]),
    element("figcaption", { textContent: QUESTIONS[question] ?? question }),
  ]);
}

// Both kinds of maps are norms, so their scale starts at 0.
function sharedLimits(shown) {
  const limits = {};
  for (const { question, values } of shown.flatMap((content) => content.maps ?? [])) {
    const largest = values.reduce((a, b) => (Number.isFinite(b) ? Math.max(a, b) : a), 0);
    limits[question] = Math.max(limits[question] ?? 0, largest);
  }
  for (const question in limits) limits[question] ||= 1; // all maps are 0
  return limits;
}

function paint(canvas, values, limit) {
  const drawing = canvas.getContext("2d");
  const pixels = drawing.createImageData(canvas.width, canvas.height);
  values.forEach((value, k) => pixels.data.set([...colour(value / limit), 255], 4 * k));
  drawing.putImageData(pixels, 0, 0);
}

function colour(share) {
  const place = Math.min(Math.max(share || 0, 0), 1) * (VIRIDIS.length - 1);
  const low = VIRIDIS[Math.floor(place)], high = VIRIDIS[Math.ceil(place)];
  return low.map((value, k) => value + (high[k] - value) * (place % 1));
}

async function contentOf(panel, entry) {
  const { run } = panel, steps = stepsOf(run, entry);
  if (!steps.length) return { run, problem: `${entry} was not logged in this run` };
  const place = placeOf(panel, steps);
  try {
    const [first, png, ...raw] = await Promise.all(steps[place].blobs.map(bytes));
    const head = JSON.parse(new TextDecoder().decode(first));
    const maps = head.maps.map((map, k) => ({ ...map, values: new Float32Array(raw[k]) }));
    const strip = URL.createObjectURL(new Blob([png], { type: "image/png" }));
    return { run, entry, steps, place, head, maps, strip };
  } catch (error) {
    return { run, problem: `step ${steps[place].step} could not be read: ${error.message}` };
  }
}

async function bytes(key) {
  if (!blobs.has(key)) {
    const response = await fetch(`./blob?key=${encodeURIComponent(key)}`);
    if (!response.ok) throw new Error(`TensorBoard answered ${response.status}`);
    blobs.set(key, await response.arrayBuffer());
  }
  return blobs.get(key);
}

function select(key, name, values, chosen, changed) {
  const found = element("select", { ariaLabel: name }, values.map((value) =>
    element("option", { value, textContent: value, selected: value === chosen })));
  found.dataset.key = key;
  found.addEventListener("change", () => changed(found.value));
  return found;
}

function button(text, pressed, key = text) {
  const found = element("button", { type: "button", textContent: text });
  found.dataset.key = key;
  found.addEventListener("click", pressed);
  return found;
}

function element(kind, properties = {}, children = []) {
  const found = Object.assign(document.createElement(kind), properties);
  found.append(...children);
  return found;
}
