// The slider of thresholds on the card: shows one row of the table that is there without it.

const slider = document.getElementById("threshold");
const rows = [...document.querySelectorAll("#thresholds tbody tr")];

function show() {
  rows.forEach((row, index) => {
    row.hidden = index !== slider.valueAsNumber;
    row.classList.toggle("here", !row.hidden);
  });
  document.getElementById("thresholdvalue").textContent = rows[slider.valueAsNumber].cells[0].textContent;
}

slider.addEventListener("input", show);
show();
