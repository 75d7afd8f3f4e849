
/** Text only: names come from the traffic, so nothing is ever parsed as HTML. */
function cell(kind, text, classes = "") {
  const made = document.createElement(kind);
  made.className = classes;
  made.textContent = text;
  return made;
}

/** A table of rows [name, share of the bar, ...numbers]; columns name what follows the first. */
function table(where, columns, rows, empty) {
  const box = document.getElementById(where);
  if (!rows.length) {
    box.replaceChildren(cell("p", empty, "empty"));
    return;
  }
  const head = document.createElement("tr");
  columns.forEach((name, position) => {
    const heading = cell("th", name, position ? "number" : "");
    heading.scope = "col";
    head.append(heading);
  });
  const body = rows.map(([name, share, ...numbers]) => {
    const row = document.createElement("tr");
    const first = document.createElement("td");
    first.className = "name";
    first.append(cell("span", name));
    first.style.setProperty("--share", `${(100 * share).toFixed(1)}%`);
    row.append(first, ...numbers.map((number) => cell("td", number.text ?? number, `number ${number.state ?? ""}`)));
    return row;
  });
  const made = document.createElement("table");
  made.append(document.createElement("thead"), document.createElement("tbody"));
  made.tHead.append(head);
  made.tBodies[0].append(...body);
  box.replaceChildren(made);
}

const most = (rows, value) => Math.max(...rows.map(value), 1e-9);
const shareOf = (value, whole) => whole ? value / whole : 0;

function byBytes(where, first, rows, name, empty) {
  const top = most(rows, (row) => row.bytes);
  table(where, [first, "Packets", "Bytes"],
    rows.map((row) => [name(row), row.bytes / top, count(row.packets), bytes(row.bytes)]), empty);
}

function showTraffic(window) {
  const none = "No traffic in this time.";
  byBytes("protocols", "Protocol", window.protocols, (row) => row.name.replace("__unknown__", "unknown"), none);
  byBytes("pairs", "From → to", window.pairs, (row) => `${row.source} → ${row.destination}`, none);
  byBytes("ports", "Port", window.ports, (row) => row.name, "No TCP or UDP in this time.");
  table("directions", ["Seen from inside", "Share", "Bytes"],
    Object.entries(window.directions).map(([name, value]) => [
      name === "__unknown__" ? "no IP address" : name, shareOf(value, window.bytes),
      `${(100 * shareOf(value, window.bytes)).toFixed(1)} %`, bytes(value),
    ]), none);
  showTcp(window);
  showTimes(window.times);
  showDns(window);
}

function showTcp(window) {
  const { flags, troubles: [again, unordered, full], unanswered } = window;
  const rows = [["Connections asked for (SYN)", flags.SYN], ["Accepted (SYN-ACK)", flags["SYN-ACK"]],
    ["Without an answer", unanswered, "bad"], ["Reset or refused (RST)", flags.RST], ["Closed (FIN)", flags.FIN],
    ["Sent again", again, "bad"], ["Out of order", unordered], ["Receiver full (window of 0)", full],
    ["Congestion (ECE, CWR)", (flags.ECE ?? 0) + (flags.CWR ?? 0)]];
  const top = most(rows, (row) => row[1] ?? 0);
  table("tcp", ["What happened", "Packets"], Object.keys(flags).length
    ? rows.map(([name, value, state]) => [name, (value ?? 0) / top, { text: count(value ?? 0), state: value ? state : "" }])
    : [], "No TCP in this time.");
}

const TIMES = ["TCP round trip", "TCP connection opened", "DNS answer"];

function showTimes(times) {
  const rows = times.map((quantiles, position) => [TIMES[position], ...quantiles]).filter((row) => row[1] !== null);
  const top = most(rows, (row) => row[2]);
  table("times", ["How long it took", "Half below", "95 % below"],
    rows.map(([name, median, slow]) => [name, slow / top, milliseconds(median), milliseconds(slow)]),
    "Nothing was measured in this time.");
}

function showDns(window) {
  const queries = Object.entries(window.queries).map(([name, value]) => [`query ${name}`, value]);
  const responses = Object.entries(window.rcodes).map(([name, value]) => [`response ${name}`, value]);
  const rows = [...queries.slice(0, 6), ...responses.slice(0, 6)].map(([name, value]) => [name.replace("__unknown__", "unknown"), value]);
  if (window.silent) rows.push(["query without an answer", window.silent, "bad"]);
  const top = most(rows, (row) => row[1]);
  table("dns", ["Messages", "Packets"],
    rows.map(([name, value, state]) => [name, value / top, { text: count(value), state }]), "No DNS in this time.");
  const domains = window.domains;
  const heaviest = most(domains, (row) => row.queries + row.failures);
  table("domains", ["Domain", "Queries", "Failed"], domains.map((row) => [
    row.name, (row.queries + row.failures) / heaviest, count(row.queries),
    { text: count(row.failures), state: row.failures ? "bad" : "" },
  ]), "No DNS in this time.");
}

function showAccounts(ledger) {
  const bad = (value) => ({ text: count(value), state: value ? "bad" : "" });
  const rows = ledger.accounts.map((row) => [
    `${row.node} · ${row.interface}`, 0, count(row.received), bad(row.dropped), bad(row.evicted), count(row.spooled),
    bad(row.imbalance), row.ended ? "ended" : `${seconds(row.heard)} ago`,
  ]);
  table("accounts", ["Node · interface", "Received", "Dropped by the kernel", "Evicted", "Waiting", "Imbalance", "Last word"],
    rows, "No ledger record yet: no collector reports.");
}

/* States in the words of doctor. */
const SIGNS = { ok: "✓ ok", warning: "! warning", broken: "✕ broken", "not checked": "? not checked" };

/** What mends it; words between backquotes are to be typed. */
function remedy(text) {
  const made = cell("p", "→ ", "remedy");
  text.split("`").forEach((part, position) => made.append(position % 2 ? cell("code", part) : part));
  return made;
}

function showHops(hops) {
  document.getElementById("hops").replaceChildren(...hops.map((hop) => {
    const item = document.createElement("li");
    item.dataset.state = hop.state;
    item.append(cell("b", hop.name), cell("span", SIGNS[hop.state]), cell("p", hop.words));
    if (hop.remedy && hop.state !== "ok") item.append(remedy(hop.remedy));
    return item;
  }));
}
