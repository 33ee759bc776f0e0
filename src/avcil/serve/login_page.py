"""The page that asks for the password; it loads nothing."""

from __future__ import annotations

from html import escape

STYLE = """
:root { color-scheme: light dark; --page: #fff; --ink: #16191d; --soft: #59626e; --edge: #8a94a1; --wash: #f4f6f8;
  --accent: #1d55b4; --warm: #b83a08; }
@media (prefers-color-scheme: dark) {
  :root { --page: #101418; --ink: #e9ecf0; --soft: #a0aab6; --edge: #77818e; --wash: #181e25; --accent: #82b1ff;
    --warm: #ff9a62; } }
* { box-sizing: border-box; }
body { margin: 0; min-height: 100vh; display: grid; place-items: center; padding: 1rem;
  font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; color: var(--ink);
  background: var(--wash); }
main { width: 100%; max-width: 22rem; padding: 1.5rem; border-radius: .5rem; background: var(--page);
  box-shadow: 0 1px 4px rgb(0 0 0 / .2); }
h1 { margin: 0 0 .25rem; font-size: 1.5rem; }
p { margin: 0 0 1rem; color: var(--soft); }
p[role=alert] { color: var(--warm); }
label { display: block; font-weight: 600; margin-bottom: .25rem; }
input, button { width: 100%; padding: .6rem .75rem; font: inherit; border-radius: .375rem; }
input { border: 1px solid var(--edge); background: var(--page); color: var(--ink); }
button { margin-top: 1rem; border: 0; background: var(--accent); color: var(--page); font-weight: 600;
  cursor: pointer; }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
"""


def login_html(problem: str = "") -> str:
    """Make the page.

    Args:
        problem: What went wrong with the last attempt, if anything.
    """
    told = f'<p id="problem" role="alert">{escape(problem)}</p>' if problem else ""
    described = ' aria-describedby="problem" aria-invalid="true"' if problem else ""
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Log in – avcil</title>
<style>{STYLE}</style>
</head>
<body>
<main>
<h1>avcil</h1>
<p>A password is required.</p>
{told}
<form method="post" action="login">
<label for="password">Password</label>
<input id="password" name="password" type="password" autocomplete="current-password" required autofocus{described}>
<button type="submit">Log in</button>
</form>
</main>
</body>
</html>
"""
