/** The few icons, inline: 16 units square, drawn with the text colour, hidden from screen readers. */

import type { ComponentChildren } from "preact";

function icon(paths: ComponentChildren) {
  return () => (
    <svg
      class="icon"
      viewBox="0 0 16 16"
      width="16"
      height="16"
      fill="none"
      stroke="currentColor"
      stroke-width="1.5"
      stroke-linecap="round"
      stroke-linejoin="round"
      aria-hidden="true"
    >
      {paths}
    </svg>
  );
}

export const BrandIcon = () => (
  <svg class="icon" viewBox="0 0 16 16" width="18" height="18" aria-hidden="true">
    <rect x="1" y="2" width="14" height="3" rx=".8" fill="currentColor" opacity=".45" />
    <rect x="1" y="6.5" width="9" height="3" rx=".8" class="brand-warm" />
    <rect x="11" y="6.5" width="4" height="3" rx=".8" class="brand-cool" />
    <rect x="1" y="11" width="4.5" height="3" rx=".8" class="brand-cool" />
    <rect x="6.5" y="11" width="3.5" height="3" rx=".8" class="brand-teal" />
  </svg>
);
export const SearchIcon = icon(<path d="M7 2.5a4.5 4.5 0 1 1 0 9 4.5 4.5 0 0 1 0-9ZM10.5 10.5 14 14" />);
export const FilterIcon = icon(<path d="M2 3h12l-4.7 5.5V13l-2.6-1.5v-3Z" />);
export const CloseIcon = icon(<path d="m4 4 8 8M12 4l-8 8" />);
export const DownloadIcon = icon(<path d="M8 2v8m0 0 3-3m-3 3L5 7M2.5 13.5h11" />);
export const SunIcon = icon(
  <path d="M8 5a3 3 0 1 1 0 6 3 3 0 0 1 0-6ZM8 1.2v1M8 13.8v1M1.2 8h1M13.8 8h1M3.2 3.2l.7.7M12.1 12.1l.7.7M12.8 3.2l-.7.7M3.9 12.1l-.7.7" />,
);
export const MoonIcon = icon(<path d="M13.5 9.8A5.8 5.8 0 0 1 6.2 2.5a5.8 5.8 0 1 0 7.3 7.3Z" />);
export const SystemIcon = icon(<path d="M2 3h12v8H2ZM6 14h4M8 11v3" />);
export const UpIcon = icon(<path d="m4 10 4-4 4 4" />);
export const DownIcon = icon(<path d="m4 6 4 4 4-4" />);
export const FlipIcon = icon(<path d="M2 3h12M4 6h8M6 9h4M8 11v3m0 0-1.5-1.5M8 14l1.5-1.5" />);
export const ResetIcon = icon(<path d="M2.5 8a5.5 5.5 0 1 0 1.8-4.1M2.5 2v3h3" />);
export const HelpIcon = icon(
  <path d="M6 6a2 2 0 1 1 2.8 1.8c-.5.3-.8.6-.8 1.2v.4M8 12v.1M8 1.5a6.5 6.5 0 1 1 0 13 6.5 6.5 0 0 1 0-13Z" />,
);
export const CalendarIcon = icon(<path d="M2.5 3.5h11v10h-11ZM2.5 6.5h11M5.5 2v2.5M10.5 2v2.5" />);
export const WarningIcon = icon(<path d="M8 2 14.5 13.5h-13ZM8 6.5V10M8 11.8v.1" />);
export const TidyIcon = icon(<path d="M2 3.5h12M4 7h8M6 10.5h4M7.2 14h1.6" />);
export const MinusIcon = icon(<path d="M3.5 8h9" />);
export const LinkIcon = icon(
  <path d="M6.5 9.5a2.6 2.6 0 0 0 3.7 0l2.6-2.6a2.6 2.6 0 0 0-3.7-3.7l-.8.8M9.5 6.5a2.6 2.6 0 0 0-3.7 0L3.2 9.1a2.6 2.6 0 0 0 3.7 3.7l.8-.8" />,
);
export const ZoomOutIcon = icon(<path d="M7 2.5a4.5 4.5 0 1 1 0 9 4.5 4.5 0 0 1 0-9ZM10.5 10.5 14 14M5 7h4" />);
export const ZoomInIcon = icon(<path d="M7 2.5a4.5 4.5 0 1 1 0 9 4.5 4.5 0 0 1 0-9ZM10.5 10.5 14 14M5 7h4M7 5v4" />);
