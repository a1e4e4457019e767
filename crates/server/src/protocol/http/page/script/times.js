'use strict';

// Times are written in UTC by the server, which does not know where the reader is.
function showLocalTimes(root) {
  const shown = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'short' });
  for (const element of root.querySelectorAll('time[datetime]')) {
    const date = new Date(element.dateTime);
    if (!Number.isNaN(date.getTime())) {
      element.title = element.textContent + ' UTC';
      element.textContent = shown.format(date);
    }
  }
  for (const zone of root.querySelectorAll('.zone')) zone.remove();
}

showLocalTimes(document);
