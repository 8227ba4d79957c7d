// Before and after, one over the other, played as one.

const DRIFT_S = 0.06;

export function compare(place, afterUrl, beforeUrl, poster) {
  const [after, before] = [place.querySelector(".after"), place.querySelector(".before")];
  const [play, seek, split] = [place.querySelector(".play"), place.querySelector(".seek"), place.querySelector(".split")];
  if (after.dataset.url === afterUrl) return;
  after.dataset.url = afterUrl;
  if (poster) after.poster = poster;
  after.src = afterUrl;
  place.hidden = false;
  const both = beforeUrl !== null;
  before.hidden = !both;
  split.parentElement.hidden = !both;
  for (const tag of place.querySelectorAll(".tag")) tag.hidden = !both;
  if (both) before.src = beforeUrl;
  const cut = () => { before.style.clipPath = `inset(0 ${100 - split.value}% 0 0)`; };
  const follow = () => {
    if (both && Math.abs(before.currentTime - after.currentTime) > DRIFT_S) before.currentTime = after.currentTime;
    if (after.duration) seek.value = 1000 * after.currentTime / after.duration;
  };
  cut();
  split.addEventListener("input", cut);
  play.addEventListener("click", () => (after.paused ? after.play() : after.pause()));
  after.addEventListener("play", () => { play.textContent = "Pause"; if (both) before.play().catch(() => {}); });
  after.addEventListener("pause", () => { play.textContent = "Play"; before.pause(); follow(); });
  after.addEventListener("timeupdate", follow);
  after.addEventListener("seeked", follow);
  seek.addEventListener("input", () => { if (after.duration) after.currentTime = after.duration * seek.value / 1000; });
}
