// Draws the diagram, and lets a frame be chosen.

const { total, connections, frames: rows } = JSON.parse(document.getElementById("recording").textContent);
const frames = rows.map(([time, connection, sender, kind, label, flags, header, length, base64, parts, request, target]) =>
  ({ time, connection, sender, kind, label, flags, header, length, base64, parts, request, target }));
// The flags of a frame.
const ASIDE = 1, ERROR = 2;
/** A call that waits longer is marked, and so is a pause, in microseconds. */
const LONG = 100e3, PAUSE = 20e3;
const HEADS = 44;

const $ = id => document.getElementById(id);
const diagram = $("diagram"), sizer = $("sizer"), view = $("view"), details = $("details");
const clamp = (least, value, most) => Math.max(least, Math.min(value, most));

/** The first index at which a growing array is over a value. */
function bisect(values, value) {
  let low = 0, high = values.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (values[middle] > value) high = middle; else low = middle + 1;
  }
  return low;
}

// ---- What is shown, and where -------------------------------------------------------------------------------

/** Of each connection: its first and last frame, and its calls, as [request, reply or end, how long it took]. */
const spans = new Map();
for (const [number, address] of connections) {
  spans.set(number, { number, address, from: Infinity, to: -1, closed: false, calls: [] });
}
const replies = new Map();
const waited = index => frames[index].time - frames[frames[index].request].time;
frames.forEach((frame, index) => {
  const span = spans.get(frame.connection);
  span.from = Math.min(span.from, index);
  span.to = index;
  span.closed ||= frame.kind === "closed";
  if (frame.request >= 0) {
    replies.set(frame.request, index);
    span.calls.push([frame.request, index, waited(index)]);
  }
});
const last = frames.length ? frames[frames.length - 1].time : 0;
frames.forEach((frame, index) => {
  const span = spans.get(frame.connection);
  if (!span.closed) span.to = frames.length;
  if (frame.kind === "request" && !replies.has(index)) {
    span.calls.push([index, span.to, (span.closed ? frames[span.to].time : last) - frame.time]);
  }
});

let shown = [], tops = [], gaps = [], lanes = [], laneOf = new Map(), height = 0, row = 30;
let chosen = -1;

/** Applies the filters: which frames are shown, how far down, and in which lanes. */
function arrange() {
  const only = $("only-connection").value, calls = $("only-calls").checked;
  row = innerWidth >= 1700 ? 36 : 30;
  shown = []; tops = []; gaps = []; lanes = []; laneOf = new Map();
  height = HEADS + 6;
  let before = null;
  frames.forEach((frame, index) => {
    if ((only && frame.connection !== Number(only)) || (calls && frame.flags & ASIDE)) return;
    const pause = before === null ? 0 : frame.time - before;
    const gap = pause < PAUSE ? 0 : Math.round(clamp(22, 22 + 14 * Math.log10(pause / PAUSE), 90));
    height += gap;
    shown.push(index); gaps.push(gap && pause); tops.push(height);
    height += row;
    before = frame.time;
  });
  height += row;
  const present = new Set(shown.map(index => frames[index].connection));
  // The first lane that is free.
  for (const span of [...spans.values()].filter(span => present.has(span.number)).sort((a, b) => a.from - b.from)) {
    let lane = lanes.findIndex(lane => lane[lane.length - 1].to < span.from);
    if (lane < 0) lane = lanes.push([]) - 1;
    lanes[lane].push(span);
    laneOf.set(span.number, lane);
  }
  $("summary").textContent = `${plural(total, "event")} on ${plural(connections.length, "connection")}, ${duration(last)}`
    + (total > frames.length ? `; the first ${frames.length.toLocaleString("en")} are shown` : "")
    + (shown.length < frames.length ? `; ${shown.length.toLocaleString("en")} match the filters` : "");
  measure();
}

let width = 0, timeWidth = 0, managerX = 0, firstX = 0, spacing = 0;

/** Fits the lanes to the width. Where they do not fit, the diagram scrolls sideways. */
function measure() {
  width = diagram.clientWidth;
  const narrow = width < 560, edge = narrow ? 44 : 80, gaps = lanes.length - 1;
  timeWidth = narrow ? 62 : row > 30 ? 104 : 84;
  managerX = timeWidth + (narrow ? 40 : 64);
  // The labels have the place before the first lane for themselves.
  const room = width - managerX - edge, least = narrow ? 76 : 92;
  const labels = narrow ? Math.max(130, Math.min(room, 200)) : clamp(280, room - gaps * 150, 640);
  spacing = gaps > 0 ? clamp(least, (room - labels) / gaps, 240) : 0;
  firstX = managerX + (narrow && gaps < 1 ? room : labels);
  sizer.style.width = `${Math.max(width, firstX + spacing * Math.max(0, gaps) + edge)}px`;
  sizer.style.height = `${Math.max(height, diagram.clientHeight)}px`;
  view.style.width = `${width}px`;
  view.style.height = `${diagram.clientHeight}px`;
  draw();
}

/** How far down a frame is, or the place where it would be. */
function topOf(index) {
  const at = bisect(shown, index - 1);
  return at < tops.length ? tops[at] + row - 8 : height;
}

// ---- Drawing: only what is visible --------------------------------------------------------------------------

let scheduled = 0;
function schedule() {
  scheduled ||= requestAnimationFrame(() => { scheduled = 0; draw(); });
}

function place(element, left, top, size) {
  element.style.left = `${left}px`;
  element.style.top = `${top}px`;
  if (size !== undefined) element.style.height = `${size}px`;
  return element;
}

function draw() {
  const top = diagram.scrollTop, left = diagram.scrollLeft, bottom = top + diagram.clientHeight;
  const x = lane => firstX + spacing * lane - left;
  const from = Math.max(0, bisect(tops, top - row) - 1), to = bisect(tops, bottom);
  // A frame more at each end, to which a bar may reach.
  const first = shown[Math.max(0, from - 1)], final = shown[Math.min(to, shown.length - 1)];
  const seen = shown[bisect(tops, top + HEADS - row)];
  const lines = [], heads = [], rows = [];
  lines.push(place(make("div", "life manager"), managerX, 0, bottom - top));
  lanes.forEach((spans, lane) => {
    if (x(lane) < firstX - 20 || x(lane) > width + 60) return;
    let head;
    for (const span of spans) {
      if (span.from > final) break;
      if (span.to < seen) continue;
      head = head === undefined || span.number === frames[chosen]?.connection ? span : head;
      const begin = topOf(span.from) + 6, end = span.to < frames.length ? topOf(span.to) - 6 : height;
      const visible = Math.max(begin, top - 2);
      lines.push(place(make("div", "life"), x(lane), visible - top, Math.min(end, bottom) - visible));
      for (const [request, reply, took] of callsBetween(span, first, final)) {
        const begin = Math.max(topOf(request), top - 9), end = Math.min(topOf(reply), bottom + 9);
        lines.push(place(make("div", took < LONG ? "call" : "call waits"), x(lane), begin - top, Math.max(2, end - begin)));
      }
    }
    if (head) heads.push(place(make("div", "head", `#${head.number}`), x(lane), 6));
  });
  for (let at = from; at < to; at++) {
    if (gaps[at]) {
      const middle = (tops[at - 1] + row + tops[at]) / 2;
      const gap = place(make("div", "gap", `+${duration(gaps[at])}`), 0, middle - 8 - top);
      gap.style.width = `${timeWidth}px`;
      lines.push(gap);
    }
    rows.push(drawRow(at, tops[at] - top, x));
  }
  const time = place(make("div", "head fixed"), 0, 0);
  time.style.width = `${firstX - 28}px`;
  heads.push(time, place(make("div", "head time", "time, s"), 6, 6), place(make("div", "head manager", "manager"), managerX, 6));
  $("lanes").replaceChildren(...lines);
  $("rows").replaceChildren(...rows);
  $("heads").replaceChildren(...heads);
  if ($(`row-${chosen}`)) diagram.setAttribute("aria-activedescendant", `row-${chosen}`);
  else diagram.removeAttribute("aria-activedescendant");
}

/** The calls of a connection that are under way between two frames; calls are in the order of their requests. */
function callsBetween({ calls }, first, end) {
  let low = 0, high = calls.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (calls[middle][1] < first) low = middle + 1; else high = middle;
  }
  const found = [];
  for (; low < calls.length && calls[low][0] <= end; low++) found.push(calls[low]);
  return found;
}

function drawRow(at, top, laneX) {
  const index = shown[at], frame = frames[index], flags = frame.flags;
  const element = place(make("div", "row"), 0, top, row);
  if (index === chosen) element.classList.add("chosen");
  if (flags & ASIDE) element.classList.add("aside");
  if (flags & ERROR) element.classList.add("error");
  element.id = `row-${index}`;
  element.setAttribute("role", "option");
  element.setAttribute("aria-selected", index === chosen);
  element.setAttribute("aria-setsize", shown.length);
  element.setAttribute("aria-posinset", at + 1);
  element.setAttribute("aria-label", describe(index));
  const time = make("span", "time", seconds(frame.time));
  time.style.width = `${timeWidth}px`;
  const x = laneX(laneOf.get(frame.connection));
  // A lane that is out of sight: the arrow ends before the lanes, or at the edge.
  const end = x < firstX - 20 ? firstX - 40 : Math.min(x, width + 20), toManager = frame.sender !== MANAGER;
  element.append(time);
  if (frame.kind === "note") {
    element.classList.add("note");
  } else if (frame.kind === "opened" || frame.kind === "closed") {
    // At the lane of the side that did it.
    const dot = make("span", `dot ${frame.kind}`);
    dot.style.left = `${toManager ? x : managerX}px`;
    if (!toManager || end === x) element.append(dot);
  } else {
    const arrow = make("span", `arrow ${toManager ? "left" : "right"}${end === x ? "" : " beyond"}`);
    arrow.style.left = `${managerX + 2}px`;
    arrow.style.width = `${end - managerX - 7}px`;
    element.append(arrow);
  }
  const text = make("span", "text");
  text.style.left = `${managerX + 10}px`;
  text.style.maxWidth = `${firstX - managerX - 22}px`;
  if (connections.length > 1) text.append(make("span", "number", `#${frame.connection}`));
  text.append(make("span", "label", frame.label.slice(width < 560 ? frame.target : 0)));
  if (frame.request >= 0 && waited(index) >= LONG) text.append(make("span", "waited", `${width < 560 ? "" : "waited "}${duration(waited(index))}`));
  element.append(text);
  return element;
}

function describe(index) {
  const { time, connection, sender, kind, label } = frames[index];
  const arrow = sender === MANAGER ? "manager to client, " : "client to manager, ";
  const way = ["opened", "closed", "note"].includes(kind) ? "" : arrow;
  return `${seconds(time)} seconds, connection ${connection}, ${way}${label}`;
}

// ---- Choosing a frame ---------------------------------------------------------------------------------------

function choose(index) {
  chosen = index;
  const wasHidden = details.hidden;
  details.hidden = index < 0;
  if (index >= 0) explain(index);
  if (wasHidden !== details.hidden) measure();
  if (index >= 0) reveal(index);
  draw();
  try {
    history.replaceState(null, "", index < 0 ? "#" : `#frame-${index + 1}`);
  } catch { /* Some viewers of files allow no address. */ }
}

function reveal(index) {
  const at = bisect(shown, index) - 1, y = tops[at];
  if (y === undefined || shown[at] !== index) return;
  const top = diagram.scrollTop, space = diagram.clientHeight;
  if (y < top + HEADS + row) diagram.scrollTop = y - HEADS - row;
  else if (y + 2 * row > top + space) diagram.scrollTop = y + 2 * row - space;
  const x = firstX + spacing * laneOf.get(frames[index].connection);
  if (x - diagram.scrollLeft < firstX) diagram.scrollLeft = x - firstX;
  else if (x - diagram.scrollLeft > width - 40) diagram.scrollLeft = x - width + 60;
}

function move(key) {
  const at = chosen < 0 ? -1 : bisect(shown, chosen) - 1;
  const page = Math.max(1, Math.floor((diagram.clientHeight - HEADS) / row) - 1);
  let next = { ArrowDown: at + 1, ArrowUp: at - 1, PageDown: at + page, PageUp: at - page, Home: 0, End: shown.length - 1 }[key];
  if (key === "ArrowLeft" || key === "ArrowRight") {
    const step = key === "ArrowRight" ? 1 : -1;
    next = at < 0 ? 0 : at + step;
    while (at >= 0 && shown[next] !== undefined && frames[shown[next]].connection !== frames[chosen].connection) next += step;
    if (shown[next] === undefined) return;
  }
  if (shown.length) choose(shown[clamp(0, next, shown.length - 1)]);
}

function close() {
  choose(-1);
  diagram.focus();
}

// ---- The bytes of a frame -----------------------------------------------------------------------------------

function explain(index) {
  const frame = frames[index];
  const button = make("button", "close", "✕");
  button.setAttribute("aria-label", "Close");
  button.onclick = close;
  details.replaceChildren(button, make("h2", "", frame.label), make("p", "facts", facts(frame, spans.get(frame.connection).address)));
  const [other, what] = frame.request >= 0 ? [frame.request, "request"] : [replies.get(index), "reply"];
  if (other !== undefined) {
    const took = waited(Math.max(other, index));
    const jump = make("button", "jump", `Go to the ${what}`);
    jump.onclick = () => { choose(other); details.querySelector(".jump").focus(); };
    details.append(make("p", took < LONG ? "facts" : "", `The reply came ${duration(took)} after the request.`), jump);
  } else if (frame.kind === "request") {
    details.append(make("p", "", "No reply was recorded."));
  }
  if (frame.base64 !== "") bytesAndParts(details, frame);
  details.scrollTop = 0;
}

// ---- Starting -----------------------------------------------------------------------------------------------

for (const [number, address] of connections) {
  const option = make("option", "", `#${number}${address ? ` ${address}` : ""}`);
  option.value = number;
  $("only-connection").append(option);
}
$("empty").hidden = frames.length > 0;
diagram.hidden = $("filters").hidden = frames.length === 0;
const refilter = () => {
  arrange();
  if (chosen >= 0) choose(laneOf.has(frames[chosen].connection) && shown.includes(chosen) ? chosen : -1);
};
$("only-connection").onchange = $("only-calls").onchange = refilter;
$("help-button").onclick = ({ currentTarget }) => {
  $("help").hidden = !$("help").hidden;
  currentTarget.setAttribute("aria-expanded", !$("help").hidden);
};
diagram.onscroll = schedule;
new ResizeObserver(measure).observe(diagram);
let wide = innerWidth >= 1700;
addEventListener("resize", () => {
  if (wide !== innerWidth >= 1700) { wide = !wide; arrange(); }
});
view.onclick = event => {
  const y = event.clientY - view.getBoundingClientRect().top + diagram.scrollTop, at = bisect(tops, y) - 1;
  if (at >= 0 && y < tops[at] + row && y > diagram.scrollTop + HEADS) choose(shown[at]);
};
diagram.onkeydown = event => {
  if (event.altKey || event.ctrlKey || event.metaKey) return;
  if (/^(Arrow|Page)|^(Home|End)$/.test(event.key)) {
    event.preventDefault();
    move(event.key);
  } else if (event.key === "Enter" && chosen >= 0) details.focus();
};
addEventListener("keydown", event => {
  if (event.key === "Escape" && !details.hidden) close();
});
arrange();
const linked = /^#frame-(\d+)$/.exec(location.hash);
if (linked && frames[linked[1] - 1]) choose(linked[1] - 1);
document.body.dataset.rendered = Math.round(performance.now());
