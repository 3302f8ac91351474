// Shows a message below a player that cannot play any of its sources.
for (const player of document.querySelectorAll("video.player")) {
  const message = player.nextElementSibling;
  const lastSource = player.querySelector("source:last-of-type"); // tried after all others have failed
  const showError = () => {
    const link = message.querySelector("a");
    link.href = link.textContent = lastSource.src;
    message.hidden = false;
  };
  player.addEventListener("error", showError); // during playback
  lastSource.addEventListener("error", showError); // before playback
  player.addEventListener("playing", () => (message.hidden = true));
  if (player.networkState === HTMLMediaElement.NETWORK_NO_SOURCE) showError(); // before this script ran
}
