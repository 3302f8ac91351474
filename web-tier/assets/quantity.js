// Formats quantities and remaining times, exactly as the server renders them.
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

// timecode formats seconds as "1:05:09", or "5:09" below an hour.
export function timecode(seconds) {
  const pad = (n) => String(n).padStart(2, "0");
  const minutes = Math.floor(seconds / 60);
  if (seconds < 3600) return `${minutes}:${pad(seconds % 60)}`;
  return `${Math.floor(minutes / 60)}:${pad(minutes % 60)}:${pad(seconds % 60)}`;
}

// progress formats how much is done: "3 of 12 talks". total is 0 if it is unknown.
export function progress(done, total, unit) {
  const format = { bytes, seconds: timecode }[unit] ?? ((n) => numbers.format(n));
  const suffix = unit && unit !== "bytes" && unit !== "seconds" ? ` ${unit}` : "";
  return format(done) + (total > 0 ? ` of ${format(total)}` : "") + suffix;
}

export function remaining(milliseconds) {
  const seconds = milliseconds / 1000;
  if (seconds < 5) return "a few seconds left";
  if (seconds < 100) return `about ${Math.floor(seconds)} s left`;
  if (seconds < 6000) return `about ${Math.round(seconds / 60)} min left`;
  return `about ${Math.round(seconds / 3600)} h left`;
}
