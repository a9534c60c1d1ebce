// Gallery: one button and one slider control all videos of a clip; the others follow the longest one.
for (const clip of all(".clip")) {
  const videos = all("video", clip);
  const button = clip.querySelector(".play");
  const slider = clip.querySelector(".seek");
  if (!videos.length) {
    clip.querySelector(".bar").hidden = true;
    continue;
  }
  let playing = false, look = "frame";
  const mouth = (clip.dataset.mouth || "0 0 1 1").split(" ").map(Number);
  // Mouth and difference are drawn from the videos, frame by frame.
  const draw = () => {
    for (const video of videos) {
      const picture = video.nextElementSibling;
      video.hidden = look !== "frame";
      picture.hidden = look === "frame";
      if (look === "frame" || video.readyState < 2) continue;
      const [left, top, wide, tall] = look === "mouth" ? mouth : [0, 0, 1, 1];
      const whole = [video.videoWidth, video.videoHeight];
      picture.width = Math.max(192, Math.round(whole[0] * wide));
      picture.height = Math.round(picture.width * (whole[1] * tall) / (whole[0] * wide));
      const pen = picture.getContext("2d");
      const paint = (other) => {
        const [w, h] = [other.videoWidth, other.videoHeight];
        pen.drawImage(other, left * w, top * h, wide * w, tall * h, 0, 0, picture.width, picture.height);
      };
      paint(video);
      if (look !== "difference" || video === videos[0]) continue;
      pen.globalCompositeOperation = "difference";
      paint(videos[0]);
      // Adding the picture to itself twice makes it four times as bright.
      pen.globalCompositeOperation = "lighter";
      pen.drawImage(picture, 0, 0);
      pen.drawImage(picture, 0, 0);
    }
  };
  if (!clip.querySelector(".sound:checked")) clip.querySelector(".sound").checked = true;
  const leader = () => videos.reduce((a, b) => ((b.duration || 0) > (a.duration || 0) ? b : a));
  const seek = (time) => videos.forEach((video) => { video.currentTime = Math.min(time, video.duration || time); });
  const sound = () => all(".player", clip).forEach((player) => {
    const video = player.querySelector("video");
    if (video) video.muted = !player.querySelector(".sound").checked;
  });
  const show = () => {
    button.textContent = playing ? "❚❚ Pause" : "▶ Play";
    button.setAttribute("aria-pressed", String(playing));
  };
  const step = () => {
    if (!playing) return;
    const first = leader();
    slider.value = first.currentTime / (first.duration || 1);
    for (const video of videos) {
      if (video !== first && !video.ended && Math.abs(video.currentTime - first.currentTime) > 0.06) {
        video.currentTime = Math.min(first.currentTime, video.duration);
      }
    }
    if (look !== "frame") draw();
    if (first.ended) {
      playing = false;
      show();
    } else requestAnimationFrame(step);
  };
  button.addEventListener("click", () => {
    playing = !playing;
    if (playing) {
      all(".clip").forEach((other) => other !== clip && other.dispatchEvent(new Event("stop")));
      seek(leader().ended ? 0 : leader().currentTime);
      sound();
      videos.forEach((video) => video.play().catch(() => {}));
      requestAnimationFrame(step);
    } else videos.forEach((video) => video.pause());
    show();
  });
  clip.addEventListener("stop", () => playing && button.click());
  slider.addEventListener("input", () => seek(Number(slider.value) * (leader().duration || 0)));
  clip.addEventListener("change", (event) => event.target.classList.contains("sound") && sound());
  for (const choice of all(".look", clip)) {
    choice.addEventListener("click", () => {
      look = choice.value;
      all(".look", clip).forEach((other) => other.setAttribute("aria-pressed", String(other === choice)));
      draw();
    });
  }
  videos.forEach((video) => ["seeked", "loadeddata"].forEach((event) => video.addEventListener(event, draw)));
}
