// The editor of the Layout tab: boxes on a picture, as one value of four corners in pixels and a class each.
//
// The names element, trigger, props and watch are given by the component that runs this. The value is
// {width, height, palette: [[class, colour]], known: [class] or null, picture: data URI or "", boxes: [{name, corners: [[x, y] * 4]}]}.
const SWATCHES = "@swatches";
const NS = "http://www.w3.org/2000/svg";
const LEAST = 2; // pixels: the shortest side that can be drawn
const find = (name) => element.querySelector("." + name);
const [svg, chips, newClass, fields, tally] = ["stage svg", "classes", "new-class", "fields", "tally"].map(find);
const kind = fields.querySelector("select"); // class of the chosen box
const inputs = Object.fromEntries([...fields.querySelectorAll("input")].map((input) => [input.dataset.field, input]));
const buttons = Object.fromEntries([...find("tools").querySelectorAll("button")].map((button) => [button.dataset.do, button]));

let doc = { width: 256, height: 256, palette: [], known: null, picture: "", boxes: [] };
let chosen = -1; // index of the selected box
let active = ""; // class that new boxes get
let past = [], future = [], last = "";
let drag = null;
const shapes = []; // one {polygon, front, label} a box, kept so that the focus stays

const svgNode = (name, parent, part) => {
  const node = document.createElementNS(NS, name);
  if (part) node.dataset.part = part;
  parent.appendChild(node);
  return node;
};
const backdrop = svgNode("rect", svg), picture = svgNode("image", svg), lines = svgNode("path", svg);
const boxLayer = svgNode("g", svg), handleLayer = svgNode("g", svg);
backdrop.setAttribute("class", "backdrop");
lines.setAttribute("class", "lines");
picture.setAttribute("preserveAspectRatio", "none");

// ---- geometry: a box is any quadrilateral; its frame is the rectangle around it along its own first edge
const add = (p, q) => [p[0] + q[0], p[1] + q[1]], minus = (p, q) => [p[0] - q[0], p[1] - q[1]];
const turned = ([x, y], angle) => [x * Math.cos(angle) - y * Math.sin(angle), x * Math.sin(angle) + y * Math.cos(angle)];
const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
const frameOf = ([a, b, c, d]) => {
  const along = add(minus(b, a), minus(c, d)), angle = Math.atan2(along[1], along[0]);
  const local = [a, b, c, d].map((p) => turned(p, -angle));
  const [us, vs] = [0, 1].map((axis) => local.map((p) => p[axis]));
  const [u0, u1, v0, v1] = [Math.min(...us), Math.max(...us), Math.min(...vs), Math.max(...vs)];
  return { centre: turned([(u0 + u1) / 2, (v0 + v1) / 2], angle), w: u1 - u0, h: v1 - v0, angle };
};
const moved = (corners, from, to) =>
  corners.map((p) => {
    const [u, v] = turned(minus(p, from.centre), -from.angle);
    return add(turned([(u * to.w) / from.w, (v * to.h) / from.h], to.angle), to.centre);
  });
const rectangle = (x0, y0, x1, y1) => [[x0, y0], [x1, y0], [x1, y1], [x0, y1]];
const areaOf = ([a, b, c, d]) => Math.abs((c[0] - a[0]) * (d[1] - b[1]) - (d[0] - b[0]) * (c[1] - a[1])) / 2;
const holds = (corners, [x, y]) => {
  let inside = false;
  corners.forEach(([ax, ay], i) => {
    const [bx, by] = corners[(i + 3) % 4];
    if (ay > y !== by > y && x < ((bx - ax) * (y - ay)) / (by - ay) + ax) inside = !inside;
  });
  return inside;
};
const pixelsPer = () => 1 / (svg.getScreenCTM()?.a || 1); // picture pixels to a pixel of the screen
const pointAt = (event) => {
  const p = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
  return [p.x, p.y];
};
const insidePicture = ([x, y]) => [clamp(x, 0, doc.width), clamp(y, 0, doc.height)];

// ---- what the boxes are called, and their colours
const colourOf = (name) => (doc.palette.find(([known]) => known === name) || ["", "#64748b"])[1];
const isKnown = (name) => doc.known === null || doc.known.includes(name);
const degrees = (angle) => Math.round(((angle * 180) / Math.PI) * 10) / 10;
const described = (box) => {
  const { centre, w, h, angle } = frameOf(box.corners);
  const turn = Math.abs(degrees(angle)) > 0.05 ? ", turned by " + degrees(angle) + "°" : "";
  return `${box.name}, ${Math.round(w)} by ${Math.round(h)} pixels at ${Math.round(centre[0])}, ${Math.round(centre[1])}${turn}`;
};

// ---- drawing
const paintChips = () => {
  const shown = [...chips.children].map((chip) => chip.dataset.name);
  if (JSON.stringify(shown) !== JSON.stringify(doc.palette.map(([name]) => name))) {
    chips.replaceChildren(...doc.palette.map(makeChip));
    kind.replaceChildren(...doc.palette.map(([name]) => new Option(name)));
  }
  doc.palette.forEach(([name, colour], index) => {
    const chip = chips.children[index];
    chip.className = "chip" + (name === active ? " active" : "") + (isKnown(name) ? "" : " unknown");
    chip.setAttribute("aria-pressed", String(name === active));
    chip.title = isKnown(name) ? (index < 9 ? "key " + (index + 1) : "") : "the model does not know this class";
    chip.firstChild.style.background = colour;
  });
  newClass.hidden = doc.known !== null;
};
const makeChip = ([name]) => {
  const chip = document.createElement("button");
  chip.type = "button";
  chip.dataset.name = name;
  chip.append(document.createElement("span"), name);
  chip.addEventListener("click", () => choose(name));
  return chip;
};
const paintBoxes = () => {
  while (shapes.length > doc.boxes.length) Object.values(shapes.pop()).forEach((node) => node.remove());
  while (shapes.length < doc.boxes.length) {
    const shape = { polygon: svgNode("polygon", boxLayer, "box"), front: svgNode("line", boxLayer), label: svgNode("text", boxLayer) };
    shape.polygon.setAttribute("tabindex", "0");
    shape.polygon.setAttribute("role", "img");
    shape.polygon.dataset.index = String(shapes.length);
    shape.front.setAttribute("class", "front");
    shapes.push(shape);
  }
  const unit = pixelsPer(), crowded = doc.boxes.length > 40;
  doc.boxes.forEach((box, index) => {
    const { polygon, front, label } = shapes[index], colour = colourOf(box.name), [a, b] = box.corners;
    polygon.setAttribute("points", box.corners.map((p) => p.join(",")).join(" "));
    polygon.setAttribute("class", "box" + (index === chosen ? " chosen" : "") + (isKnown(box.name) ? "" : " unknown"));
    polygon.setAttribute("aria-label", described(box));
    polygon.dataset.name = box.name;
    [polygon, front].forEach((node) => node.style.setProperty("--colour", colour));
    [["x1", a[0]], ["y1", a[1]], ["x2", b[0]], ["y2", b[1]]].forEach(([key, value]) => front.setAttribute(key, value));
    const left = Math.min(...box.corners.map((p) => p[0])), top = Math.min(...box.corners.map((p) => p[1]));
    label.textContent = crowded && index !== chosen ? "" : box.name;
    label.setAttribute("x", clamp(left, 2 * unit, Math.max(2 * unit, doc.width - 7 * unit * box.name.length)));
    label.setAttribute("y", top - 4 * unit < 11 * unit ? Math.max(top, 0) + 13 * unit : top - 4 * unit);
    label.style.fontSize = 12 * unit + "px";
    label.style.strokeWidth = 3 * unit + "px";
    label.style.fill = colour;
  });
};
const paintHandles = () => {
  handleLayer.replaceChildren();
  if (chosen < 0) return;
  const { centre, w, h, angle } = frameOf(doc.boxes[chosen].corners), unit = pixelsPer();
  const at = (su, sv) => add(centre, turned([(su * w) / 2, (sv * h) / 2], angle));
  const stem = svgNode("line", handleLayer), top = at(0, -1), knob = add(top, turned([0, -24 * unit], angle));
  stem.setAttribute("class", "stem");
  [["x1", top[0]], ["y1", top[1]], ["x2", knob[0]], ["y2", knob[1]]].forEach(([key, value]) => stem.setAttribute(key, value));
  const circle = (part, [x, y], radius) => {
    const node = svgNode("circle", handleLayer, part);
    [["cx", x], ["cy", y], ["r", radius * unit]].forEach(([key, value]) => node.setAttribute(key, value));
    return node;
  };
  circle("turn", knob, 6.5);
  for (const [su, sv] of [[-1, -1], [0, -1], [1, -1], [1, 0], [1, 1], [0, 1], [-1, 1], [-1, 0]]) {
    if (su === 0 && w / unit < 30) continue;
    if (sv === 0 && h / unit < 30) continue;
    const node = circle("size", at(su, sv), 5);
    node.dataset.su = su;
    node.dataset.sv = sv;
    const aim = (Math.round(((Math.atan2(sv * h, su * w) + angle) * 180) / Math.PI / 45) + 8) % 4;
    node.style.cursor = ["ew-resize", "nwse-resize", "ns-resize", "nesw-resize"][aim];
  }
};
const paintFields = () => {
  const box = doc.boxes[chosen], frame = box && frameOf(box.corners);
  const values = frame ? { x: frame.centre[0], y: frame.centre[1], w: frame.w, h: frame.h, angle: degrees(frame.angle) } : {};
  for (const [name, input] of Object.entries(inputs)) {
    input.disabled = !frame;
    if (document.activeElement !== input || !drag) input.value = frame ? Math.round(values[name] * 100) / 100 : "";
  }
  kind.disabled = !frame;
  kind.value = box ? box.name : "";
  for (const name of ["duplicate", "delete"]) buttons[name].disabled = !frame;
  buttons.undo.disabled = !past.length;
  buttons.redo.disabled = !future.length;
  buttons.clear.disabled = !doc.boxes.length;
  const counts = new Map();
  doc.boxes.forEach((box) => counts.set(box.name, (counts.get(box.name) || 0) + 1));
  const listed = [...counts].map(([name, count]) => `${count} ${name}`).join(", ");
  tally.textContent = `${doc.width} x ${doc.height} pixels, ` + (listed ? `${doc.boxes.length} ${doc.boxes.length > 1 ? "boxes" : "box"}: ${listed}` : "no boxes yet");
};
const paintStage = () => {
  svg.setAttribute("viewBox", `0 0 ${doc.width} ${doc.height}`);
  svg.style.aspectRatio = `${doc.width} / ${doc.height}`;
  svg.style.width = `min(100%, ${Math.round((600 * doc.width) / doc.height)}px)`;
  for (const node of [backdrop, picture]) {
    node.setAttribute("width", doc.width);
    node.setAttribute("height", doc.height);
  }
  picture.style.display = doc.picture ? "" : "none";
  if (doc.picture) picture.setAttribute("href", doc.picture);
  else picture.removeAttribute("href");
  const step = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512].find((size) => Math.max(doc.width, doc.height) / size <= 16) || 1024;
  let path = "";
  for (let x = step; x < doc.width; x += step) path += `M${x} 0V${doc.height}`;
  for (let y = step; y < doc.height; y += step) path += `M0 ${y}H${doc.width}`;
  lines.setAttribute("d", doc.picture ? "" : path);
};
const paint = () => {
  paintBoxes();
  paintHandles();
  paintFields();
};

// ---- changes: each is one step of undo, and is told to the server's side
const copied = () => JSON.parse(JSON.stringify(doc.boxes));
const tell = () => {
  const rounded = doc.boxes.map((box) => ({ ...box, corners: box.corners.map((p) => p.map((value) => Math.round(value * 1000) / 1000)) }));
  props.value = { ...doc, boxes: rounded };
  trigger("input");
};
const keep = (before, sort = "") => {
  // A row of key presses of one sort is one step.
  if (!sort || sort !== last) past = [...past.slice(-99), before];
  last = sort;
  future = [];
  paint();
  tell();
};
const edit = (change, sort = "") => {
  const before = copied();
  change();
  keep(before, sort);
};
const select = (index) => {
  if (index === chosen) return;
  chosen = index;
  last = "";
  paint();
};
const focusBox = (index) => (index >= 0 && shapes[index] ? shapes[index].polygon : svg).focus({ preventScroll: true });
const choose = (name) => {
  active = name;
  paintChips();
};
const relabel = (name) => {
  if (doc.boxes[chosen].name !== name) edit(() => (doc.boxes[chosen] = { ...doc.boxes[chosen], name }));
};
const reframe = (change, sort) => {
  const box = doc.boxes[chosen], from = frameOf(box.corners), to = { ...from, ...change(from) };
  edit(() => {
    to.centre = insidePicture(to.centre);
    doc.boxes[chosen] = { ...box, corners: moved(box.corners, from, { ...to, w: Math.max(to.w, LEAST), h: Math.max(to.h, LEAST) }) };
  }, sort);
};
const commands = {
  add() {
    if (!active) return;
    const side = Math.max(LEAST, Math.min(doc.width, doc.height) / 8), shift = (doc.boxes.length % 5) * side * 0.3;
    const [x, y] = [doc.width / 2 + shift, doc.height / 2 + shift];
    edit(() => doc.boxes.push({ name: active, corners: rectangle(x - side, y - side / 2, x + side, y + side / 2) }));
    select(doc.boxes.length - 1);
    focusBox(chosen);
  },
  duplicate() {
    if (chosen < 0) return;
    const box = doc.boxes[chosen], by = Math.max(4, Math.round(doc.width / 40));
    edit(() => doc.boxes.push({ ...box, corners: box.corners.map((p) => add(p, [by, by])) }));
    select(doc.boxes.length - 1);
    focusBox(chosen);
  },
  delete() {
    if (chosen < 0) return;
    const gone = chosen;
    edit(() => {
      doc.boxes.splice(gone, 1);
      chosen = -1;
    });
    focusBox(-1);
  },
  clear() {
    if (!doc.boxes.length) return;
    edit(() => {
      doc.boxes = [];
      chosen = -1;
    });
  },
  undo: () => restore(past, future),
  redo: () => restore(future, past),
};
const restore = (from, to) => {
  if (!from.length) return;
  to.push(copied());
  doc.boxes = from.pop();
  if (chosen >= doc.boxes.length) chosen = -1;
  last = "";
  paint();
  tell();
};

// ---- the mouse, or a finger
const hit = (p) => {
  const under = doc.boxes.map((box, index) => index).filter((index) => holds(doc.boxes[index].corners, p));
  under.sort((one, other) => areaOf(doc.boxes[one].corners) - areaOf(doc.boxes[other].corners));
  return under;
};
svg.addEventListener("pointerdown", (event) => {
  if (event.button !== 0 || drag) return;
  event.preventDefault();
  const p = pointAt(event), part = event.target.dataset?.part, before = copied();
  if (part === "size" || part === "turn") {
    const { su, sv } = event.target.dataset;
    drag = { kind: part, su: Number(su), sv: Number(sv), corners: doc.boxes[chosen].corners };
  } else {
    const under = event.ctrlKey || event.altKey ? [] : hit(p);
    // On a narrow box the pointer may be on its outline and still beside its area.
    if (!under.length && part === "box" && !event.ctrlKey && !event.altKey) under.push(Number(event.target.dataset.index));
    const index = under.includes(chosen) ? chosen : under.length ? under[0] : -1;
    if (index >= 0) {
      const again = index === chosen && under[0] !== index ? under[0] : -1;
      select(index);
      drag = { kind: "move", corners: doc.boxes[index].corners, again };
    } else {
      select(-1);
      drag = { kind: "draw" };
    }
    focusBox(index);
  }
  svg.setPointerCapture(event.pointerId);
  Object.assign(drag, { start: p, screen: [event.clientX, event.clientY], before, far: false });
});
svg.addEventListener("pointermove", (event) => {
  if (!drag) return;
  const p = pointAt(event);
  if (!drag.far && Math.hypot(event.clientX - drag.screen[0], event.clientY - drag.screen[1]) < 3) return;
  drag.far = true;
  if (drag.kind === "draw") draw(p, event.shiftKey);
  else {
    const from = frameOf(drag.corners), to = { move: shifted, size: sized, turn: swung }[drag.kind](from, p, event.shiftKey);
    doc.boxes[chosen] = { ...doc.boxes[chosen], corners: moved(drag.corners, from, to) };
  }
  paint();
});
const draw = (p, square) => {
  if (!active) return;
  const [x0, y0] = insidePicture(drag.start);
  let [x1, y1] = insidePicture(p);
  if (square) {
    const side = Math.min(Math.abs(x1 - x0), Math.abs(y1 - y0));
    [x1, y1] = [x0 + Math.sign(x1 - x0) * side, y0 + Math.sign(y1 - y0) * side];
  }
  const corners = rectangle(Math.min(x0, x1), Math.min(y0, y1), Math.max(x0, x1), Math.max(y0, y1));
  const large = corners[2][0] - corners[0][0] >= LEAST && corners[2][1] - corners[0][1] >= LEAST;
  if (drag.made) doc.boxes.pop();
  drag.made = large;
  chosen = -1;
  if (large) {
    doc.boxes.push({ name: active, corners });
    chosen = doc.boxes.length - 1;
  }
};
const shifted = (from, p) => ({ ...from, centre: insidePicture(add(from.centre, minus(p, drag.start))) });
const swung = (from, p, snap) => {
  const [x, y] = minus(p, from.centre), step = Math.PI / 12, angle = Math.atan2(y, x) + Math.PI / 2;
  return { ...from, angle: snap ? Math.round(angle / step) * step : angle };
};
const sized = (from, p, proportional) => {
  const { su, sv } = drag, [u, v] = turned(minus(p, from.centre), -from.angle);
  let w = su ? Math.max(LEAST, from.w / 2 + su * u) : from.w, h = sv ? Math.max(LEAST, from.h / 2 + sv * v) : from.h;
  if (proportional && su && sv) {
    const ratio = Math.max(w / from.w, h / from.h);
    [w, h] = [from.w * ratio, from.h * ratio];
  }
  return { ...from, w, h, centre: add(from.centre, turned([(su * (w - from.w)) / 2, (sv * (h - from.h)) / 2], from.angle)) };
};
const release = (event) => {
  if (!drag) return;
  const done = drag;
  drag = null;
  if (event.type === "pointercancel") {
    doc.boxes = done.before;
    chosen = Math.min(chosen, doc.boxes.length - 1);
    paint();
  } else if (!done.far) {
    if (done.again >= 0) {
      select(done.again);
      focusBox(done.again);
    }
  } else if (done.kind !== "draw" || done.made) {
    keep(done.before);
    focusBox(chosen);
  }
};
svg.addEventListener("pointerup", release);
svg.addEventListener("pointercancel", release);

// ---- the keyboard
const nudges = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
svg.addEventListener("focusin", (event) => {
  if (event.target.dataset.part === "box" && !drag) select(Number(event.target.dataset.index));
});
svg.addEventListener("keydown", (event) => {
  const key = event.key, control = event.ctrlKey || event.metaKey, lower = key.toLowerCase();
  const does = (action) => {
    event.preventDefault();
    event.stopPropagation();
    action();
  };
  if (control && lower === "z") return does(event.shiftKey ? commands.redo : commands.undo);
  if (control && lower === "y") return does(commands.redo);
  if (control && lower !== "d") return;
  if (/^[1-9]$/.test(key) && doc.palette[key - 1]) return does(() => (chosen < 0 ? choose : relabel)(doc.palette[key - 1][0]));
  if (lower === "n") return does(commands.add);
  if (chosen < 0) return;
  if (lower === "d") return does(commands.duplicate);
  if (key === "Delete" || key === "Backspace") return does(commands.delete);
  if (key === "Escape") return does(() => (select(-1), focusBox(-1)));
  if (nudges[key]) {
    const [x, y] = nudges[key].map((value) => value * (event.shiftKey ? 10 : 1));
    if (event.altKey) return does(() => reframe(({ w, h }) => ({ w: w + x, h: h + y }), "size"));
    return does(() => reframe(({ centre }) => ({ centre: add(centre, [x, y]) }), "move"));
  }
  const turn = { r: event.shiftKey ? -5 : 5, ".": 1, ",": -1 }[lower];
  if (turn) does(() => reframe(({ angle }) => ({ angle: angle + (turn * Math.PI) / 180 }), "turn"));
});

// ---- the bars around the picture
for (const [name, button] of Object.entries(buttons)) button.addEventListener("click", () => commands[name]());
for (const [name, input] of Object.entries(inputs)) {
  input.addEventListener("change", () => {
    const value = Number(input.value);
    if (chosen < 0 || input.value === "" || !Number.isFinite(value)) return paintFields();
    reframe(({ centre }) => {
      if (name === "angle") return { angle: (value * Math.PI) / 180 };
      if (name === "w" || name === "h") return { [name]: value };
      return { centre: name === "x" ? [value, centre[1]] : [centre[0], value] };
    });
  });
}
kind.addEventListener("change", () => chosen >= 0 && relabel(kind.value));
newClass.addEventListener("submit", (event) => {
  event.preventDefault();
  const field = newClass.querySelector("input"), name = field.value.trim();
  if (!name) return;
  if (!doc.palette.some(([known]) => known === name)) doc.palette = [...doc.palette, [name, SWATCHES[doc.palette.length % SWATCHES.length]]];
  field.value = "";
  choose(name);
  paintFields();
  tell();
});

const load = () => {
  const value = props.value;
  if (!value || !Array.isArray(value.boxes)) return;
  const fresh = JSON.parse(JSON.stringify(value));
  if (JSON.stringify(fresh.boxes) !== JSON.stringify(doc.boxes)) {
    past = fresh.width === doc.width && fresh.height === doc.height ? [...past, doc.boxes] : [];
    future = [];
    chosen = -1;
  }
  doc = fresh;
  last = "";
  drag = null;
  if (!doc.palette.some(([name]) => name === active)) active = doc.palette.length ? doc.palette[0][0] : "";
  paintStage();
  paintChips();
  paint();
};
watch("value", load);
new ResizeObserver(() => paint()).observe(svg);
load();
