/* Numbers as the page writes them. */
const places = v => !Number.isFinite(v) ? '\u2013' : (v < 0 && +v.toFixed(3) !== 0 ? '\u2212' : '') + Math.abs(v).toFixed(3).replace(/^0/, '');
const bracketed = (low, high) => Number.isFinite(low) && Number.isFinite(high) ? `[${places(low)}, ${places(high)}]` : '';
/* Unpacks data blocks (gzip as base64) to text. The blocks follow the scripts in the file, so `isRead` waits for the end of the document. */
const isRead = new Promise(then => { if (document.readyState === 'loading') addEventListener('DOMContentLoaded', then); else then(); });
const unpacked = async id => {
  await isRead;
  const bytes = Uint8Array.from(atob(document.getElementById(id).textContent), c => c.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream('gzip'))).text();
};
