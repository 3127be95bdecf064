// Reads a file's header in the browser and sends that alone: a LoRA may have gigabytes.
// A safetensors file: 8 bytes little-endian length, that many bytes of JSON, then the tensors.

const FIRST_BYTES = 64

async function bytes(file, begin, end) {
  return new Uint8Array(await file.slice(begin, end).arrayBuffer())
}

function base64(data) {
  let text = ""
  for (let at = 0; at < data.length; at += 0x8000) text += String.fromCharCode(...data.subarray(at, at + 0x8000))
  return btoa(text)
}

// The values of the alphas lie among the weights, a few bytes each.
async function alphas(file, header, data_begin) {
  let entries
  try { entries = Object.entries(JSON.parse(new TextDecoder().decode(header))) } catch { return [] }
  const places = entries
    .filter(([name, entry]) => name.endsWith(".alpha") && Array.isArray(entry?.data_offsets))
    .map(([, entry]) => entry.data_offsets)
    .filter(([begin, end]) => Number.isSafeInteger(begin) && end > begin && end - begin <= 8)
  return Promise.all(places.map(async ([begin, end]) =>
    [data_begin + begin, base64(await bytes(file, data_begin + begin, data_begin + end))]))
}

async function beginning(file, max_bytes) {
  let start = await bytes(file, 0, FIRST_BYTES)
  const length = start.length < 8 ? 0 : Number(new DataView(start.buffer).getBigUint64(0, true))
  // Anything else is no safetensors file; its first bytes tell what it is.
  if (length < 2 || 8 + length > file.size) return { start: base64(start), alphas: [] }
  if (8 + length > max_bytes) throw new Error("Its header is too large to be sent. Use the command line instead.")
  start = await bytes(file, 0, 8 + length)
  return { start: base64(start), alphas: await alphas(file, start.subarray(8), 8 + length) }
}

export default function (component) {
  const { data, parentElement, setTriggerValue } = component
  const root = parentElement.querySelector(".own-file")
  const input = root.querySelector("input")
  const say = (text) => { root.querySelector(".problem").textContent = text }
  const read = async (file) => {
    if (!file) return
    say("")
    try {
      const sent = await beginning(file, data.max_bytes)
      setTriggerValue("file", { name: file.name, size: file.size, ...sent })
    } catch (error) {
      say(error instanceof DOMException ? "The file cannot be read." : error.message)
    }
    input.value = ""
  }
  input.onchange = () => read(input.files[0])
  root.ondragover = (event) => { event.preventDefault(); root.classList.add("over") }
  root.ondragleave = () => root.classList.remove("over")
  root.ondrop = (event) => {
    event.preventDefault()
    root.classList.remove("over")
    read(event.dataTransfer.files[0])
  }
}
