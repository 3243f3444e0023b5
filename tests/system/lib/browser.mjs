/*
 * browser: the distribution's Chromium, driven by playwright-core, with a fresh profile and
 * without any traffic of its own.
 *
 * CHROMIUM names the binary; SCREENSHOTS a folder to leave pictures in.
 */
import fs from 'node:fs';
import path from 'node:path';
import { chromium } from 'playwright-core';
import { descendants, removeDir, tempDir, track } from './cleanup.mjs';

export class Browser {
	/* args: more of Chromium's own. */
	static async start({ args = [] } = {}) {
		const browser = new Browser();
		browser.dir = tempDir('browser');
		const before = new Set(descendants(process.pid).map((p) => p.pid));
		browser.context = await chromium.launchPersistentContext(browser.dir, {
			executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
			headless: true,
			viewport: { width: 1280, height: 800 },
			args: ['--no-sandbox', '--disable-background-networking', '--disable-component-update',
				'--disable-sync', '--no-first-run', '--disable-gpu', '--disable-quic', ...args],
		});
		browser.context.setDefaultTimeout(15_000);
		for (const p of descendants(process.pid).filter((q) => !before.has(q.pid)))
			track(p.pid);
		return browser;
	}

	/* A page that notes what goes wrong in it. */
	async page() {
		const page = await this.context.newPage();
		page.errors = [];
		page.on('pageerror', (error) => page.errors.push(String(error)));
		return page;
	}

	async screenshot(page, name) {
		const dir = process.env.SCREENSHOTS;
		if (!dir)
			return;
		fs.mkdirSync(dir, { recursive: true });
		await page.screenshot({ path: path.join(dir, `${name}.png`), fullPage: true });
	}

	async stop() {
		await this.context.close();
		removeDir(this.dir);
	}
}
