// A player that has nothing to play says so, below itself.
for (const player of document.querySelectorAll("video.player")) {
  const message = player.nextElementSibling;
  const last = player.querySelector("source:last-of-type"); // tried when no other plays
  const fail = () => {
    const link = message.querySelector("a");
    link.href = link.textContent = last.src;
    message.hidden = false;
  };
  player.addEventListener("error", fail); // while it plays
  last.addEventListener("error", fail); // before that
  player.addEventListener("playing", () => (message.hidden = true));
  if (player.networkState === HTMLMediaElement.NETWORK_NO_SOURCE) fail(); // before this ran
}
