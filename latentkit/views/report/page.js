// The latent map: a scatter on a canvas, whose points show their image.
(() => {
  const content = JSON.parse(document.getElementById("content").textContent);
  const canvas = document.getElementById("points"), drawing = canvas.getContext("2d");
  const [projection, group] = ["projection", "group"].map((id) => document.getElementById(id));
  const [card, face, words, said, legend] = ["card", "face", "words", "said", "legend"]
    .map((id) => document.getElementById(id));
  // Petroff's ten colours, made to be told apart by the colour-blind too; then darker and lighter
  // ones, and so on. Nobody tells so many apart: the card names them.
  const TEN = ["#3f90da", "#ffa90e", "#bd1f01", "#94a4a2", "#832db6", "#a96b59", "#e76300",
    "#b9ac70", "#717581", "#92dadd"];
  const MARGIN = 14;
  let chosen = -1;

  fill(projection, Object.keys(content.places));
  fill(group, Object.keys(content.groups));
  for (const select of [projection, group]) select.addEventListener("change", () => draw());
  new ResizeObserver(() => draw()).observe(canvas);
  canvas.addEventListener("pointermove", (event) => choose(nearest(event, 16)));
  canvas.addEventListener("pointerdown", (event) => choose(nearest(event, 28)));
  canvas.addEventListener("pointerleave", (event) => {
    if (event.pointerType === "mouse") choose(-1); // a finger leaves as soon as it has touched
  });
  canvas.addEventListener("blur", () => choose(-1));
  canvas.addEventListener("keydown", (event) => {
    const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    if (event.key === "Escape") choose(-1);
    if (!(event.key in way)) return;
    event.preventDefault();
    choose(chosen < 0 ? 0 : next(way[event.key]));
  });

  function fill(select, names) {
    select.replaceChildren(...names.map((name) => new Option(name, name)));
  }

  function places() {
    const side = canvas.clientWidth - 2 * MARGIN;
    return content.places[projection.value].map(([x, y]) => [MARGIN + x * side, MARGIN + y * side]);
  }

  function names() {
    const { compare } = new Intl.Collator("en", { numeric: true });
    return [...new Set(content.groups[group.value])].sort(compare);
  }

  function colourOf(k) {
    const level = Math.floor(k / 10), share = 100 - 40 * (level / (level + 1)) - 10 * (level % 5);
    return level ? `color-mix(in srgb, ${TEN[k % 10]} ${share}%, ${level % 2 ? "black" : "white"})` : TEN[k];
  }

  function draw() {
    const side = canvas.clientWidth, ratio = window.devicePixelRatio || 1;
    canvas.width = canvas.height = side * ratio;
    drawing.setTransform(ratio, 0, 0, ratio, 0, 0);
    const all = names(), colours = new Map(all.map((name, k) => [name, colourOf(k)]));
    const values = content.groups[group.value];
    places().forEach(([x, y], k) => dot(x, y, k === chosen ? 7 : 3, colours.get(values[k]), k === chosen));
    legend.replaceChildren(...all.map((name) => {
      const item = document.createElement("li"), mark = document.createElement("i");
      mark.style.background = colours.get(name);
      item.append(mark, name);
      return item;
    }));
  }

  function dot(x, y, radius, colour, ringed) {
    drawing.beginPath();
    drawing.arc(x, y, radius, 0, 2 * Math.PI);
    drawing.fillStyle = colour;
    drawing.fill();
    if (!ringed) return;
    drawing.lineWidth = 2;
    drawing.strokeStyle = getComputedStyle(document.body).color;
    drawing.stroke();
  }

  function nearest(event, reach) {
    let best = -1, least = reach ** 2;
    places().forEach(([x, y], k) => {
      const far = (x - event.offsetX) ** 2 + (y - event.offsetY) ** 2;
      if (far < least) [best, least] = [k, far];
    });
    return best;
  }

  // The nearest point on that side: what lies across counts twice.
  function next([dx, dy]) {
    const all = places(), [x0, y0] = all[chosen];
    let best = chosen, least = Infinity;
    all.forEach(([x, y], k) => {
      const along = (x - x0) * dx + (y - y0) * dy, across = Math.abs((x - x0) * dy - (y - y0) * dx);
      if (along > 0.5 && along + 2 * across < least) [best, least] = [k, along + 2 * across];
    });
    return best;
  }

  function choose(k) {
    if (k === chosen) return;
    chosen = k;
    draw();
    card.hidden = k < 0;
    if (k < 0) return;
    face.style.setProperty("--x", k % content.columns);
    face.style.setProperty("--y", Math.floor(k / content.columns));
    const what = Object.entries(content.groups).map(([name, values]) => `${name} ${values[k]}`);
    said.textContent = words.textContent = [`image ${k}`, ...what].join(", ");
    const [x, y] = places()[k], side = canvas.clientWidth;
    card.style.left = x < side / 2 ? `${x + 14}px` : "auto";
    card.style.right = x < side / 2 ? "auto" : `${side - x + 14}px`;
    card.style.top = y < side / 2 ? `${y}px` : "auto";
    card.style.bottom = y < side / 2 ? "auto" : `${side - y}px`;
  }
})();
