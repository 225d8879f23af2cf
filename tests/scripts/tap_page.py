"""Opens the pages of `tap --html` in Chromium, and uses them as a reader would.

    python3 tap_page.py chromium DIRECTORY

DIRECTORY holds the pages, such as empty.html; screenshots are written next to them. Talks to the
browser through the pipe of its debugging protocol, which needs no package.
"""
import base64
import fcntl
import json
import os
import pathlib
import subprocess
import sys
import time

WIDTHS = {390: 844, 1280: 800, 1920: 1080}
THEMES = ["light", "dark"]
# Seconds. A page of 10,000 frames takes about 0.3 s.
LOADS = 10
LABELS = "JSON.parse(document.getElementById('recording').textContent).frames.map(frame => frame[4])"


class Browser:
    def __init__(self, program, profile):
        (our_in, its_out), (its_in, our_out) = os.pipe(), os.pipe()
        # Away from 3 and 4, which the browser uses.
        its_out, its_in = (fcntl.fcntl(fd, fcntl.F_DUPFD, 20) for fd in (its_out, its_in))
        self.process = subprocess.Popen(
            [program, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--remote-debugging-pipe",
             "--no-first-run", "--disable-dev-shm-usage", f"--user-data-dir={profile}", "about:blank"],
            preexec_fn=lambda: (os.dup2(its_in, 3), os.dup2(its_out, 4)), close_fds=False,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(its_out)
        os.close(its_in)
        self.input, self.output = os.fdopen(our_in, "rb"), os.fdopen(our_out, "wb")
        self.last, self.session, self.events, self.rest = 0, None, [], b""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ["Page", "Runtime", "Log"]:
            self.call(f"{domain}.enable")

    def message(self):
        while b"\0" not in self.rest:
            more = os.read(self.input.fileno(), 1 << 20)
            assert more, "the browser has ended"
            self.rest += more
        message, self.rest = self.rest.split(b"\0", 1)
        return json.loads(message)

    def call(self, method, **params):
        self.last += 1
        request = {"id": self.last, "method": method, "params": params}
        if self.session:
            request["sessionId"] = self.session
        self.output.write(json.dumps(request).encode() + b"\0")
        self.output.flush()
        while True:
            message = self.message()
            if message.get("id") == self.last:
                assert "error" not in message, (method, message["error"])
                return message["result"]
            self.events.append(message)

    def load(self, url):
        self.events = [event for event in self.events if event["method"] != "Page.loadEventFired"]
        self.call("Page.navigate", url=url)
        while not any(event["method"] == "Page.loadEventFired" for event in self.events):
            self.events.append(self.message())

    def open(self, path, width, height, theme, fragment=""):
        """Opens a page; returns the seconds until it was drawn."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": theme}])
        # From another page: a link within a page does not load it anew.
        self.load("about:blank")
        self.events.clear()
        start = time.monotonic()
        self.load(path.as_uri() + fragment)
        assert self.js("document.body.dataset.rendered") is not None, self.errors()
        self.frame()
        return time.monotonic() - start

    def js(self, code):
        result = self.call("Runtime.evaluate", expression=code, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def frame(self):
        """Waits until the page is drawn anew."""
        self.js("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done())))")

    def key(self, key):
        code = {"ArrowDown": 40, "ArrowUp": 38, "ArrowLeft": 37, "ArrowRight": 39, "Escape": 27, "Home": 36, "End": 35,
                "PageDown": 34, "Tab": 9, "Enter": 13}[key]
        for kind in ["rawKeyDown", "keyUp"]:
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code)
        self.frame()

    def click(self, selector):
        x, y = self.js(f"(r => [r.x + r.width / 2, r.y + r.height / 2])(document.querySelector({json.dumps(selector)}).getBoundingClientRect())")
        for kind in ["mousePressed", "mouseReleased"]:
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)
        self.frame()

    def text(self, selector):
        return self.js(f"document.querySelector({json.dumps(selector)})?.textContent")

    def screenshot(self, path):
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot")["data"]))

    def errors(self):
        """What went wrong in the page: exceptions, and what a console shows in red."""
        def is_error(event):
            params = event.get("params", {})
            return (event["method"] in ["Runtime.exceptionThrown", "Page.javascriptDialogOpening"]
                    or params.get("type") in ["error", "assert"]
                    or params.get("entry", {}).get("level") == "error")
        return [event for event in self.events if is_error(event)]


def opens(browser, directory):
    """Every page, at every width, in both themes."""
    for name in ["empty", "one", "python", "many", "hostile"]:
        for width, height in WIDTHS.items():
            for theme in THEMES:
                took = browser.open(directory / f"{name}.html", width, height, theme)
                where = f"{name} at {width} px, {theme}"
                browser.screenshot(directory / f"{name}-{width}-{theme}.png")
                assert not browser.errors(), (where, browser.errors())
                assert took < LOADS, f"{where}: took {took:.1f} s"
                wide = browser.js("document.documentElement.scrollWidth - innerWidth")
                assert wide <= 0, f"{where}: wider than the window by {wide} px"
                background = browser.js("getComputedStyle(document.body).backgroundColor")
                assert (sum(map(int, background[4:-1].split(","))) < 300) == (theme == "dark"), (where, background)
                rows = browser.js("document.querySelectorAll('.row').length")
                assert (0 == rows) if name == "empty" else (0 < rows < 100), (where, rows)
                contrasts(browser, where)
                if name != "empty":
                    # A frame with all layers, if there is one.
                    labels = browser.js(LABELS)
                    number = next((at for at, label in enumerate(labels, 1) if "block=True" in label), 13)
                    browser.open(directory / f"{name}.html", width, height, theme, f"#frame-{number}")
                    assert browser.text("#details h2") == labels[number - 1]
                    browser.screenshot(directory / f"{name}-{width}-{theme}-bytes.png")
                    browser.js("document.querySelector('#details').scrollTop = 450")
                    browser.screenshot(directory / f"{name}-{width}-{theme}-parts.png")
                    wide = browser.js("(details => details.scrollWidth - details.clientWidth)(document.querySelector('#details'))")
                    assert wide <= 0, f"{where}: the details are too wide by {wide} px"
                    browser.click("#help-button")
                    browser.screenshot(directory / f"{name}-{width}-{theme}-help.png")
                    assert not browser.errors(), (where, browser.errors())
                print(f"{where}: {took:.2f} s, {rows} rows", flush=True)


def contrasts(browser, where):
    """Every text is readable on every background that it may have: a contrast of at least 4.5 (WCAG AA)."""
    def luminance(colour):
        parts = [int(colour[at:at + 2], 16) / 255 for at in (1, 3, 5)]
        parts = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]

    def colour(name):
        return browser.js(f"getComputedStyle(document.documentElement).getPropertyValue('--{name}').trim()")

    inks = {"ink": ["paper", "panel", "chosen", "length", "handshake", "envelope", "arguments", "other"],
            "faint": ["paper", "panel", "chosen"], "error": ["paper", "panel", "chosen"], "wait": ["paper", "panel", "chosen"]}
    for ink, papers in inks.items():
        for paper in papers:
            light, dark = sorted([luminance(colour(ink)), luminance(colour(paper))], reverse=True)
            contrast = (light + 0.05) / (dark + 0.05)
            assert contrast >= 4.5, f"{where}: {ink} on {paper} has a contrast of {contrast:.1f}"


def one_connection(browser, directory):
    """The keyboard alone, then the mouse."""
    browser.open(directory / "one.html", 1280, 800, "light")
    labels = browser.js(LABELS)
    for label in ["#CHALLENGE#", "#WELCOME#", "put(7)", "#RETURN None"]:
        assert label in labels, (label, labels)
    browser.key("Tab")
    while browser.js("document.activeElement.id") != "diagram":
        browser.key("Tab")
    browser.key("End")
    assert browser.text("#details h2") == labels[-1]
    browser.key("Home")
    assert browser.text("#details h2") == labels[0]
    for _ in range(labels.index("put(7)")):
        browser.key("ArrowDown")
    assert browser.text("#details h2") == "put(7)"
    chosen = browser.js("document.getElementById(document.querySelector('#diagram').getAttribute('aria-activedescendant')).ariaSelected")
    assert chosen == "true", chosen
    name = browser.js("document.querySelector('.row.chosen').ariaLabel")
    assert "client to manager, put(7)" in name, name
    layers = set(browser.js("[...document.querySelectorAll('.bytes [data-part]')].map(part => part.className)"))
    assert layers == {"length", "envelope", "arguments"}, layers
    # All bytes are shown: those of the header and of the payload.
    bytes_, length = browser.js("[[...document.querySelectorAll('.bytes [data-part]')].map(part => part.textContent).join(' ').split(' ').length,"
                                " document.querySelector('.parts code').textContent]")
    assert bytes_ == 4 + int(length), (bytes_, length)
    # The part with the argument, and its bytes.
    browser.js("[...document.querySelectorAll('.parts button')].find(part => part.textContent.includes('argument')).focus()")
    browser.key("Tab")
    browser.click(".parts button.arguments")
    assert browser.text(".bytes .on").startswith("4b 07"), browser.text(".bytes .on")
    assert browser.text(".parts button.on code") == "7"
    browser.key("Escape")
    assert browser.js("document.querySelector('#details').hidden && document.activeElement.id === 'diagram'")
    browser.click(".row:nth-child(3)")
    assert browser.text("#details h2") == browser.text(".row.chosen .label")
    browser.click("#details .close")
    assert browser.js("document.querySelector('#details').hidden")
    # Calls only: no handshake.
    browser.click("#only-calls")
    assert not browser.js("[...document.querySelectorAll('.row')].some(row => row.textContent.includes('#WELCOME#'))")
    # A link to a frame.
    browser.open(directory / "one.html", 1280, 800, "light", f"#frame-{labels.index('put(7)') + 1}")
    assert browser.text("#details h2") == "put(7)"
    waits = [label for label in browser.js("[...document.querySelectorAll('.waited')].map(text => text.textContent)")]
    browser.key("Tab")
    browser.js("document.querySelector('#diagram').focus()")
    browser.key("End")
    browser.frame()
    waits += browser.js("[...document.querySelectorAll('.waited')].map(text => text.textContent)")
    assert any("waited" in wait for wait in waits), waits
    assert browser.js("document.querySelectorAll('.gap').length") > 0
    assert not browser.errors(), browser.errors()


def many_connections(browser, directory):
    """10,000 frames stay fast, and only the visible ones exist."""
    for width, height in WIDTHS.items():
        browser.open(directory / "many.html", width, height, "light")
        took = browser.js("""new Promise(done => {
            const diagram = document.querySelector("#diagram"), start = performance.now();
            let step = 0;
            requestAnimationFrame(function next() {
                diagram.scrollTop = diagram.scrollHeight * ((step * 37) % 60) / 60;
                diagram.scrollLeft = diagram.scrollWidth * step / 60;
                if (++step < 60) requestAnimationFrame(next); else done(performance.now() - start);
            });
        })""")
        assert took < 60 * 100, f"60 steps of scrolling took {took:.0f} ms"
        print(f"many at {width} px: {took / 60:.1f} ms a step", flush=True)
        browser.js("document.querySelector('#diagram').focus()")
        start = time.monotonic()
        for key in ["End", "ArrowUp", "ArrowLeft", "PageDown"]:
            browser.key(key)
            # Its row is drawn, and lies within the diagram.
            assert browser.js("""(row => row && (r => r.top > 44 && r.bottom <= innerHeight + 1)(row.getBoundingClientRect()))
                (document.querySelector(".row.chosen"))"""), (width, key)
        assert time.monotonic() - start < 5
        assert browser.js("document.querySelectorAll('.row').length") < 100
        browser.screenshot(directory / f"many-{width}-end.png")
        # One connection only.
        browser.js("(list => { list.value = '150'; list.dispatchEvent(new Event('change')); })(document.querySelector('#only-connection'))")
        browser.frame()
        numbers = set(browser.js("[...document.querySelectorAll('.row .number')].map(number => number.textContent.trim())"))
        assert numbers == {"#150"}, numbers
        browser.screenshot(directory / f"many-{width}-filtered.png")
        assert not browser.errors(), browser.errors()


def hostile(browser, directory):
    """What a peer sends stays text."""
    browser.open(directory / "hostile.html", 1280, 800, "light")
    frames = browser.js("JSON.parse(document.getElementById('recording').textContent).frames.length")
    browser.js("document.querySelector('#diagram').focus()")
    for _ in range(frames):
        browser.key("ArrowDown")
        assert browser.js("document.scripts.length") == 2
        assert not browser.js("document.querySelector('img, iframe, svg, a')")
        assert not browser.errors(), browser.errors()
    assert browser.js("window.stolen") is None
    assert "<img" in browser.js("document.body.innerText")
    # Even a script that got into the page would not run.
    browser.js("document.body.append(Object.assign(document.createElement('script'), {textContent: 'window.stolen = 1'}))")
    assert browser.js("window.stolen") is None


if __name__ == "__main__":
    program, directory = sys.argv[1], pathlib.Path(sys.argv[2]).resolve()
    browser = Browser(program, directory / "profile")
    try:
        one_connection(browser, directory)
        hostile(browser, directory)
        many_connections(browser, directory)
        opens(browser, directory)
    finally:
        browser.process.terminate()
        browser.process.wait()
    print("ok")
