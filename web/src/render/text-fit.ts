/**
 * How much of a text fits into a width, fast: widths of characters are measured once per font and added up.
 *
 * Kerning is ignored (it is switched off where the text is drawn), so the sum is the drawn width to a fraction of a pixel.
 */

export class TextFit {
  private readonly ascii = new Float32Array(128).fill(-1);
  private readonly others = new Map<string, number>();
  private readonly ellipsis: number;

  /** `measure` gives the width of one character in the font that will be used. */
  constructor(private readonly measure: (character: string) => number) {
    this.ellipsis = measure("…");
  }

  /** The first of the texts that fits whole; else the start of the last one with an ellipsis; "" when not even that. */
  fit(texts: readonly string[], width: number): string {
    for (const text of texts) if (this.fits(text, width)) return text;
    const text = texts[texts.length - 1] ?? "";
    let used = this.ellipsis;
    let kept = 0;
    while (kept < text.length) {
      used += this.widthOf(text.charCodeAt(kept));
      if (used > width) break;
      kept++;
    }
    return kept < 2 ? "" : `${text.slice(0, kept)}…`;
  }

  private fits(text: string, width: number): boolean {
    let used = 0;
    for (let i = 0; i < text.length; i++) {
      used += this.widthOf(text.charCodeAt(i));
      if (used > width) return false;
    }
    return true;
  }

  private widthOf(unit: number): number {
    if (unit < 128) {
      if (this.ascii[unit] < 0) this.ascii[unit] = this.measure(String.fromCharCode(unit));
      return this.ascii[unit];
    }
    const character = String.fromCharCode(unit);
    const known = this.others.get(character);
    if (known !== undefined) return known;
    const width = this.measure(character);
    this.others.set(character, width);
    return width;
  }
}
