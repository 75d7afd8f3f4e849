
const byId = (name) => document.getElementById(name);
const write = (name, text) => { byId(name).textContent = text; };

const charts = [new Chart(byId("chart-bits"), bits), new Chart(byId("chart-packets"), packetRate)];
let points = [];
let latest = null;

function showPoints() {
  points = points.slice(-Chart.SPAN);
  charts[0].show(points.map(([time, , size]) => [time, 8 * size]));
  charts[1].show(points.map(([time, packets]) => [time, packets]));
  const recent = points.slice(-5);
  const mean = (over, column) => over.length ? over.reduce((sum, point) => sum + point[column], 0) / over.length : 0;
  write("now-bits", bits(8 * mean(recent, 2)));
  write("now-packets", packetRate(mean(recent, 1)));
  const since = seconds(points.length);
  write("now-bits-note", `mean of ${since} ${bits(8 * mean(points, 2))}`);
  write("now-packets-note", `mean of ${since} ${packetRate(mean(points, 1))}`);
}

function showSnapshot() {
  if (!latest) return;
  showTraffic(latest.windows[document.querySelector("input[name=window]:checked").value]);
  showHops(latest.hops);
  showAccounts(latest.ledger);
  const { lost_recently: lost, received, lost: ever, nodes } = latest.ledger;
  write("now-lost", nodes ? count(lost) : NEVER);
  write("now-lost-note", nodes ? `${count(ever)} of ${count(received)} ever` : "no collector reports");
  byId("tile-lost").dataset.state = !nodes ? "unknown" : lost ? "bad" : "ok";
  write("now-lag", latest.lag === null ? NEVER : seconds(latest.lag));
  document.title = lost ? `${count(lost)} lost – streamgauge` : "streamgauge";
}

function connection(state, words) {
  byId("connection").dataset.state = state;
  write("connection", words);
}

const events = new EventSource("events");
events.addEventListener("open", () => connection("ok", "live"));
events.addEventListener("error", () => connection("bad", "connection lost, trying again"));
events.addEventListener("history", (event) => { points = JSON.parse(event.data); showPoints(); });
events.addEventListener("points", (event) => { points.push(...JSON.parse(event.data)); showPoints(); });
events.addEventListener("snapshot", (event) => { latest = JSON.parse(event.data); showSnapshot(); });
document.querySelectorAll("input[name=window]").forEach((input) => input.addEventListener("change", showSnapshot));

/* The live tail: lines that match, the newest below; the view stays where a reader has scrolled to. */
const TAIL_LINES = 500;
const lines = byId("tail-lines");
let tail = null;
let matched = 0;
let paused = false;

function openTail() {
  tail?.close();
  matched = 0;
  tailState("", "waiting for matching packets");
  tail = new EventSource(`tail?filter=${encodeURIComponent(byId("tail-filter").value)}`);
  tail.addEventListener("lines", (event) => showLines(JSON.parse(event.data)));
  tail.addEventListener("refused", (event) => { tail.close(); tailState("bad", JSON.parse(event.data)); });
  tail.addEventListener("error", () => { if (tail.readyState === EventSource.CLOSED) tailState("bad", "the tail was refused; too many are open"); });
}

function tailState(state, words) {
  byId("tail-state").dataset.state = state;
  write("tail-state", words);
}

function showLines(news) {
  matched += news.matched;
  if (paused) return;
  const atEnd = lines.scrollTop + lines.clientHeight >= lines.scrollHeight - 8;
  for (const [node, line] of news.lines) {
    const row = document.createElement("div");
    row.append(cell("i", `${node} `), line);
    lines.append(row);
  }
  while (lines.childElementCount > TAIL_LINES) lines.firstElementChild.remove();
  if (atEnd) lines.scrollTop = lines.scrollHeight;
  const hidden = news.matched - news.lines.length;
  tailState("", `${count(matched)} matched${hidden > 0 ? `, ${count(hidden)} more than fit just now` : ""}`);
}

function pause() {
  paused = !paused;
  byId("tail-pause").setAttribute("aria-pressed", String(paused));
  write("tail-pause", paused ? "Go on" : "Pause");
}

byId("tail-form").addEventListener("submit", (event) => { event.preventDefault(); lines.replaceChildren(); openTail(); });
byId("tail-pause").addEventListener("click", pause);
byId("tail-clear").addEventListener("click", () => lines.replaceChildren());

/* Light or dark: as the system says, until somebody chooses. Storage may be forbidden; then the choice is for now. */
function remembered() {
  try { return localStorage.getItem("streamgauge-theme"); } catch { return null; }
}

function setTheme(name) {
  document.documentElement.dataset.theme = name;
  charts.forEach((chart) => chart.draw());
}

function switchTheme() {
  const name = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
  setTheme(name);
  try { localStorage.setItem("streamgauge-theme", name); } catch { /* for now only */ }
}

const systemDark = matchMedia("(prefers-color-scheme: dark)");
systemDark.addEventListener("change", () => { if (!remembered()) setTheme(systemDark.matches ? "dark" : "light"); });
setTheme(remembered() ?? (systemDark.matches ? "dark" : "light"));
byId("theme").addEventListener("click", switchTheme);
byId("keys-open").addEventListener("click", () => byId("keys").showModal());

const KEYS = {
  "/": () => byId("tail-filter").focus(),
  p: pause,
  t: switchTheme,
  1: () => document.querySelector("input[name=window][value='1']").click(),
  5: () => document.querySelector("input[name=window][value='15']").click(),
  "?": () => byId("keys").showModal(),
};
document.addEventListener("keydown", (event) => {
  if (event.target.matches("input[type=search]") || event.ctrlKey || event.metaKey || event.altKey) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  if (KEYS[event.key]) { event.preventDefault(); KEYS[event.key](); }
});

openTail();
