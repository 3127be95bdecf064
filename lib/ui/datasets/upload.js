// The upload form. Texts from files and from the server only ever become textContent.

const started = new WeakSet()

function size(bytes) {
  for (const [unit, factor] of [["GB", 2 ** 30], ["MB", 2 ** 20], ["KB", 2 ** 10]])
    if (bytes >= factor) return (bytes / factor).toFixed(1) + " " + unit
  return bytes + " bytes"
}

function show(bar, fraction) {
  const percent = Math.floor(100 * Math.min(1, fraction))
  bar.setAttribute("aria-valuenow", percent)
  bar.firstElementChild.style.width = percent + "%"
}

function send(file, data, running, onProgress) {
  return new Promise((resolve) => {
    const request = new XMLHttpRequest()
    running.request = request
    request.open("PUT", data.url + encodeURIComponent(file.name))
    request.setRequestHeader(data.header, "1")
    request.setRequestHeader("Content-Type", "application/octet-stream")
    request.upload.onprogress = (event) => onProgress(event.loaded)
    request.upload.onload = () => { running.arrived = true; onProgress(file.size) }
    request.onload = () => {
      let answer = {}
      try { answer = JSON.parse(request.responseText) } catch { answer = {} }
      if (request.status === 200) resolve(answer)
      else resolve({ refused: { [file.name]: answer.error || "The server answered " + request.status + "." } })
    }
    request.onerror = () => resolve({ refused: { [file.name]: "The connection to the server broke." } })
    request.onabort = () => resolve({ refused: { [file.name]: "Stopped." } })
    request.send(file)
  })
}

function some(names) {
  return names.slice(0, 20).join(", ") + (names.length > 20 ? ` and ${names.length - 20} more` : "")
}

function summarize(box, total) {
  box.replaceChildren()
  const say = (text) => {
    const line = document.createElement("p")
    line.textContent = text
    box.append(line)
  }
  const captionsIn = (names) => names.filter((name) => name.endsWith(".txt")).length
  const captions = captionsIn(total.kept) - captionsIn(total.known)
  const images = total.kept.length - total.known.length - captions
  say(`Kept ${images} ${images === 1 ? "image" : "images"} and ${captions} ` +
    `${captions === 1 ? "caption" : "captions"}, refused ${total.refused.length}.`)
  if (total.known.length)
    say(`${total.known.length} ${total.known.length === 1 ? "file was" : "files were"} already there: ` +
      some(total.known))
  if (total.strays.length)
    say(`${total.strays.length} ${total.strays.length === 1 ? "caption has" : "captions have"} no image: ` +
      some(total.strays))
  if (!total.refused.length) return
  const list = document.createElement("ul")
  list.setAttribute("aria-label", "Refused files")
  list.tabIndex = 0
  for (const [name, reason] of total.refused.slice(0, 200)) {
    const item = document.createElement("li")
    const bold = document.createElement("strong")
    bold.textContent = name
    item.append(bold, ": " + reason)
    item.className = "bad"
    list.append(item)
  }
  if (total.refused.length > 200) {
    const item = document.createElement("li")
    item.textContent = `and ${total.refused.length - 200} more`
    list.append(item)
  }
  box.append(list)
}

async function uploadAll(files, root, data, done) {
  const find = (name) => root.querySelector(name)
  const running = { stopped: false, arrived: false, request: null }
  const total = { kept: [], known: [], strays: [], refused: [] }
  const bytes = files.reduce((sum, file) => sum + file.size, 0) || 1
  let before = 0
  find(".running").hidden = false
  find(".drop").inert = true
  find(".result").replaceChildren()
  // What has arrived whole is taken in whether we listen or not: then only the files after it are stopped.
  find(".stop").onclick = () => {
    running.stopped = true
    if (!running.arrived) running.request?.abort()
    else find(".now").textContent += " Stopping after this file."
  }
  // Images first: the server takes a caption's image as given.
  files.sort((a, b) => a.name.toLowerCase().endsWith(".txt") - b.name.toLowerCase().endsWith(".txt"))
  for (const [index, file] of files.entries()) {
    if (running.stopped) { total.refused.push([file.name, "Stopped."]); continue }
    const place = files.length > 1 ? ` (${index + 1} of ${files.length})` : ""
    const report = (loaded) => {
      const percent = Math.floor(100 * loaded / (file.size || 1))
      const stage = running.arrived ? "checking…" : `${percent}% of ${size(file.size)}`
      find(".now").textContent = `${file.name}${place}: ${stage}`
      show(find(".bar.file"), loaded / (file.size || 1))
      show(find(".bar.all"), (before + loaded) / bytes)
    }
    running.arrived = false
    report(0)
    const answer = file.size > data.max_bytes
      ? { refused: { [file.name]: `It is larger than ${size(data.max_bytes)}.` } }
      : await send(file, data, running, report)
    total.kept.push(...(answer.kept || []))
    total.known.push(...(answer.already_there || []))
    total.strays.push(...(answer.stray_captions || []))
    total.refused.push(...Object.entries(answer.refused || {}))
    before += file.size
  }
  find(".running").hidden = true
  find(".drop").inert = false
  summarize(find(".result"), total)
  find("input").value = ""
  find("input").focus({ preventScroll: true })
  done({ kept: total.kept.length, refused: total.refused.length })
}

export default function (component) {
  const { data, parentElement, setTriggerValue } = component
  const root = parentElement.querySelector(".upload")
  const input = root.querySelector("input")
  const drop = root.querySelector(".drop")
  const start = async (list) => {
    const files = Array.from(list)
    if (!files.length || started.has(root)) return
    started.add(root)
    try { await uploadAll(files, root, data, (result) => setTriggerValue("finished", result)) }
    finally { started.delete(root) }
  }
  input.onchange = () => start(input.files)
  drop.ondragover = (event) => { event.preventDefault(); drop.classList.add("over") }
  drop.ondragleave = () => drop.classList.remove("over")
  drop.ondrop = (event) => {
    event.preventDefault()
    drop.classList.remove("over")
    start(event.dataTransfer.files)
  }
}
