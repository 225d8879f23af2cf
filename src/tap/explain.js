// What the bytes of a frame mean. Together with page.js, this is one module. What came from the wire is set as text,
// never as HTML.

// What a part of a frame is: its layer, its name, and a sentence about it.
const EXPLAIN = {
  len: ["length", "length",
    "How many bytes of payload follow, as a signed 32-bit big-endian number. Every frame begins with it: a stream "
    + "has no boundaries of its own, so the receiver must be told how much to read."],
  len12: ["length", "long length",
    "-1 (ff ff ff ff) announces a long frame. The length of the payload follows, as an unsigned 64-bit big-endian "
    + "number."],
  challenge: ["handshake", "challenge",
    "The prefix of a challenge: the receiver must prove that it has the authkey."],
  digest: ["handshake", "hash function",
    "The hash function of the response. It is hashed too, so a response for one function is not valid for "
    + "another."],
  nonce: ["handshake", "random bytes", "New for each challenge, so that no response can be used twice."],
  mac: ["handshake", "response",
    "The HMAC of all bytes after #CHALLENGE#, with the authkey as the HMAC key. It proves the authkey without "
    + "sending it. (A weak authkey can be guessed offline.)"],
  welcome: ["handshake", "accepted",
    "The response was right. Both sides challenge each other in turn; requests follow, neither signed "
    + "nor encrypted."],
  failure: ["handshake", "rejected",
    "The response was wrong: the two sides have different authkeys. The connection ends."],
  proto: ["envelope", "PROTO",
    "A pickle begins, and names the protocol it is written in. A pickle is a program for a small stack machine "
    + "that builds one object."],
  frame: ["envelope", "FRAME", "The next bytes of the pickle form one pickle frame, which can be read at once."],
  ops: ["envelope", "operations", "Pickle operations around the parts."],
  id: ["envelope", "object id",
    "Identifies the shared object that is called. The manager returned this id when the object was created."],
  none: ["envelope", "no object", "None in place of an object's id: the call is for the manager itself."],
  method: ["envelope", "method", "The name of the method, or function of the manager, that is called."],
  noargs: ["envelope", "no arguments", "The positional arguments: an empty tuple."],
  nokwargs: ["envelope", "no keywords", "The keyword arguments: an empty dict."],
  arg: ["arguments", "argument", "A positional argument, as a pickle. A queue forwards an item without opening it."],
  name: ["envelope", "keyword", "The name of a keyword argument. Its value follows."],
  kwarg: ["arguments", "keyword argument", "The value of the keyword argument named before it."],
  "#RETURN": ["envelope", "#RETURN", "The call succeeded. Its result follows."],
  "#PROXY": ["envelope", "#PROXY",
    "The call succeeded, and its result stays in the manager. Its method names follow, and a token that identifies the "
    + "object."],
  "#ERROR": ["envelope", "#ERROR", "The method raised an exception. It follows, and the client raises it."],
  "#TRACEBACK": ["envelope", "#TRACEBACK", "The manager could not make the call. The text says why."],
  "#UNSERIALIZABLE": ["envelope", "#UNSERIALIZABLE", "The result cannot be pickled. Its text follows instead."],
  value: ["arguments", "result", "The result, as a pickle."],
  unknown: ["other", "not understood", "These bytes could not be decoded."],
  cut: ["arguments", "first bytes", "The first bytes of a value that is too large to record."],
  foreign: ["other", "foreign bytes",
    "These bytes are not frames: another protocol, or an invalid length and the bytes after it."],
};
// The operations around the parts: their name, the bytes of their operand, and what they do.
const OPERATIONS = {
  0x28: ["MARK", 0, "remembers where a tuple or dict begins"],
  0x29: ["EMPTY_TUPLE", 0, "makes an empty tuple"],
  0x2e: ["STOP", 0, "ends the pickle"],
  0x71: ["BINPUT", 1, "stores the last object in the memo, for later references"],
  0x72: ["LONG_BINPUT", 4, "stores the last object in the memo, for later references"],
  0x73: ["SETITEM", 0, "puts the last key and value into the dict"],
  0x74: ["TUPLE", 0, "makes a tuple of all objects since the mark"],
  0x75: ["SETITEMS", 0, "puts all keys and values since the mark into the dict"],
  0x7d: ["EMPTY_DICT", 0, "makes an empty dict"],
  0x85: ["TUPLE1", 0, "makes a tuple of the last object"],
  0x86: ["TUPLE2", 0, "makes a tuple of the last two objects"],
  0x87: ["TUPLE3", 0, "makes a tuple of the last three objects"],
  0x94: ["MEMOIZE", 0, "stores the last object in the memo, under the next free number"],
  0x95: ["FRAME", 8, "gives the length of a pickle frame"],
};

const LAYERS = {
  length: "length",
  handshake: "handshake",
  envelope: "envelope of the request or reply",
  arguments: "arguments and results",
  other: "not understood",
};

const MANAGER = 1;

/** An element with classes and children; a string becomes text. */
function make(tag, classes, ...children) {
  const element = document.createElement(tag);
  if (classes) element.className = classes;
  element.append(...children);
  return element;
}

const plural = (count, noun) => `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;

/** A length of time, in microseconds. */
function duration(time) {
  if (time < 1e3) return `${time} µs`;
  if (time < 1e6) return `${(time / 1e3).toPrecision(3)} ms`;
  return time < 60e6 ? `${(time / 1e6).toFixed(2)} s` : `${Math.floor(time / 60e6)} min ${Math.round(time / 1e6) % 60} s`;
}

/** A point of time, in seconds. */
const seconds = time => (time / 1e6).toFixed(time < 1e9 ? 4 : 2);

/** What a frame is, in sentences. */
function facts({ time, connection, sender, kind, header, length }, address) {
  const [from, to] = sender === MANAGER ? ["manager", "client"] : ["client", "manager"];
  const size = plural(length, "byte") + (header ? ` of payload, after the ${header}-byte length` : "");
  const what = {
    opened: "The connection was opened.",
    closed: `The ${from} shut down its sending side (EOF).`,
    note: "A remark by the tap; no bytes were sent.",
    foreign: `Bytes that are not frames, from the ${from} to the ${to}; ${size}.`,
    handshake: `A handshake frame from the ${from} to the ${to}; ${size}.`,
  }[kind] ?? `A ${kind} from the ${from} to the ${to}; ${size}.`;
  return `${seconds(time)} s, connection ${connection}${address && ` from ${address}`}. ${what}`;
}

/** The names of operations, and what they do, each once; nothing if another one is among them. */
function operations(bytes) {
  const names = [], meanings = new Set();
  for (let at = 0; at < bytes.length; at++) {
    if (!OPERATIONS[bytes[at]]) return [];
    const [name, operand, meaning] = OPERATIONS[bytes[at]];
    names.push(name);
    meanings.add(`${name} ${meaning}`);
    at += operand;
  }
  return [names.join(", "), `${[...meanings].join("; ")}.`];
}

/** The bytes in hex, coloured, and the parts with their explanations. A button in one marks the part in both. */
function bytesAndParts(details, frame) {
  const bytes = Uint8Array.from(atob(frame.base64), char => char.charCodeAt(0));
  let at = 0;
  const parts = frame.parts.map(([length, code, text]) => {
    at += length;
    return { from: at - length, to: at, code, text, layer: EXPLAIN[code][0] };
  });
  const dump = make("div", "bytes"), list = make("ol", "parts"), legend = make("ul", "legend");
  dump.tabIndex = 0;
  dump.setAttribute("role", "group");
  dump.setAttribute("aria-label", "Bytes in hexadecimal");
  for (const layer of new Set(parts.map(part => part.layer))) legend.append(make("li", "", make("span", layer), LAYERS[layer]));
  const mark = chosenPart => {
    for (const element of details.querySelectorAll("[data-part]")) {
      const on = Number(element.dataset.part) === chosenPart;
      element.classList.toggle("on", on);
      if (element.tagName === "BUTTON") element.setAttribute("aria-pressed", on);
    }
  };
  let end = 0;
  const more = make("button", "jump");
  const grow = size => {
    const to = Math.min(bytes.length, end + size);
    dump.append(hex(bytes, parts, end, to, details.clientWidth < 640 ? 8 : 16));
    end = to;
    const left = bytes.length - end;
    more.textContent = `Show ${Math.min(4096, left).toLocaleString("en")} more of ${plural(left, "byte")}`;
    more.hidden = left === 0;
  };
  grow(1024);
  more.onclick = () => grow(4096);
  parts.forEach((part, number) => {
    let [layer, name, sentence] = EXPLAIN[part.code], { text } = part;
    if (part.code === "ops" && part.to <= bytes.length) {
      [text, sentence = sentence] = operations(bytes.subarray(part.from, part.to));
    }
    const range = part.to - part.from === 1 ? `byte ${part.from}` : `bytes ${part.from} to ${part.to - 1}`;
    const button = make("button", layer, make("b", "", name), " ", make("small", "", range));
    if (text) button.append(make("br"), make("code", "", text));
    button.append(make("br"), sentence);
    button.dataset.part = number;
    button.setAttribute("aria-pressed", "false");
    button.onclick = () => {
      if (part.from >= end) grow(part.from - end + 256);
      mark(button.getAttribute("aria-pressed") === "true" ? -1 : number);
      details.querySelector(".bytes .on")?.scrollIntoView({ block: "nearest" });
    };
    list.append(make("li", "", button));
  });
  dump.onclick = ({ target }) => target.dataset.part && mark(Number(target.dataset.part));
  details.append(make("h3", "", "Bytes"), legend, dump, more);
  if (bytes.length < frame.header + frame.length) {
    details.append(make("p", "facts", `The rest of the ${plural(frame.length, "byte")} is not in this page.`));
  }
  details.append(make("h3", "", "Parts"), list);
}

/** Lines of an offset, bytes, and their characters. */
function hex(bytes, parts, from, to, columns) {
  const fragment = document.createDocumentFragment();
  let part = 0;
  for (let line = from; line < to; line += columns) {
    fragment.append(make("span", "at", line.toString(16).padStart(5, "0") + "  "));
    const end = Math.min(line + columns, to);
    let characters = "";
    for (let at = line; at < end;) {
      while (part < parts.length - 1 && parts[part].to <= at) part++;
      const stop = Math.min(end, parts[part].to > at ? parts[part].to : end);
      const run = Array.from(bytes.subarray(at, stop));
      const span = make("span", parts[part].layer, run.map(byte => byte.toString(16).padStart(2, "0")).join(" "));
      span.dataset.part = part;
      fragment.append(span, stop < end ? " " : "");
      characters += run.map(byte => byte >= 32 && byte < 127 ? String.fromCharCode(byte) : "·").join("");
      at = stop;
    }
    fragment.append("   ".repeat(columns - (end - line)), make("span", "ascii", `  ${characters}`), "\n");
  }
  return fragment;
}

