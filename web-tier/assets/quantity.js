// How much of what, how long still: as the pages say it that the server makes.
const numbers = new Intl.NumberFormat("en");

export function bytes(n) {
  if (n < 1000) return n === 1 ? "1 byte" : `${n} bytes`;
  let unit = "";
  for (unit of ["KB", "MB", "GB", "TB"]) {
    n /= 1000;
    if (n < 999.5) break;
  }
  return `${n < 9.95 ? n.toFixed(1) : Math.round(n)} ${unit}`;
}

export function clock(seconds) {
  const two = (n) => String(n).padStart(2, "0");
  const minutes = Math.floor(seconds / 60);
  if (seconds < 3600) return `${minutes}:${two(seconds % 60)}`;
  return `${Math.floor(minutes / 60)}:${two(minutes % 60)}:${two(seconds % 60)}`;
}

export function amount(done, total, unit) {
  const one = { bytes, seconds: clock }[unit] ?? ((n) => numbers.format(n));
  const named = unit && unit !== "bytes" && unit !== "seconds" ? ` ${unit}` : "";
  return one(done) + (total > 0 ? ` of ${one(total)}` : "") + named;
}

export function left(milliseconds) {
  const seconds = milliseconds / 1000;
  if (seconds < 5) return "a few seconds left";
  if (seconds < 100) return `about ${Math.floor(seconds)} s left`;
  if (seconds < 6000) return `about ${Math.round(seconds / 60)} min left`;
  return `about ${Math.round(seconds / 3600)} h left`;
}
