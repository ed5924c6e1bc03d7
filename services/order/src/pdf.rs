//! An invoice as PDF: A4, one embedded font, as many pages as it takes. First everything is laid out, then it is drawn,
//! so that each page can say how many there are.

use std::sync::LazyLock;

use contracts::{
    order::v1::{Invoice, InvoiceLine},
    r#type::v1::{Amount, PostalAddress},
};
use kit::{Error, Timestamp};
use krilla::{
    Document,
    color::rgb,
    geom::{PathBuilder, Point, Rect},
    metadata::Metadata,
    num::NormalizedF32,
    page::PageSettings,
    paint::Fill,
    text::{Font, TextDirection},
};

use crate::invoice::percent;

/// DejaVu Sans: Latin, Greek, Cyrillic and more. A character that it lacks is shown as a box.
const FONT: &[u8] = include_bytes!("../fonts/DejaVuSans.ttf");

/// A4, in points.
const PAGE: (f32, f32) = (595.28, 841.89);
const LEFT: f32 = 48.0;
const RIGHT: f32 = 547.0;
const TOP: f32 = 64.0;
/// Below this nothing is written but the foot of the page.
const BOTTOM: f32 = 780.0;
/// The right edges of the columns after the title: pieces, price, discount, net, rate, tax.
const COLUMNS: [f32; 6] = [284.0, 338.0, 392.0, 450.0, 494.0, RIGHT];
const TITLE_WIDTH: f32 = 205.0;
/// How many lines a title may take.
const TITLE_LINES: usize = 3;
/// How many characters of a text are looked at.
const TEXT_MAX: usize = 500;

/// Draws an invoice. `seller` is the name and the address of who writes it, a line each.
///
/// # Errors
/// `INTERNAL` if the document cannot be made.
pub fn draw(invoice: &Invoice, seller: &[String]) -> Result<Vec<u8>, Error> {
    static LETTERS: LazyLock<Option<Font>> = LazyLock::new(|| Font::new(FONT.into(), 0));

    let font = LETTERS.as_ref().ok_or_else(|| Error::internal("the font of invoices cannot be read"))?;
    let pages = Layout::new()?.invoice(invoice, seller);
    let size = PageSettings::from_wh(PAGE.0, PAGE.1).ok_or_else(|| Error::internal("A4 is no size"))?;
    let mut document = Document::new();
    document.set_metadata(Metadata::new().title(format!("Invoice {}", clean(&invoice.number))));
    for marks in pages {
        let mut page = document.start_page_with(size.clone());
        let mut surface = page.surface();
        for mark in marks {
            let (shade, opacity, rule) = (mark.shade, NormalizedF32::ONE, Default::default());
            surface.set_fill(Some(Fill { paint: rgb::Color::new(shade, shade, shade).into(), opacity, rule }));
            match mark.what {
                What::Text { text, size } => {
                    let at = Point::from_xy(mark.x, mark.y);
                    surface.draw_text(at, font.clone(), size, &text, false, TextDirection::Auto);
                }
                What::Rule => {
                    let mut path = PathBuilder::new();
                    if let Some(rule) = Rect::from_xywh(LEFT, mark.y, RIGHT - LEFT, 0.6) {
                        path.push_rect(rule);
                    }
                    if let Some(path) = path.finish() {
                        surface.draw_path(&path);
                    }
                }
            }
        }
        surface.finish();
        page.finish();
    }
    document.finish().map_err(|error| Error::internal(format!("a PDF cannot be written: {error:?}")))
}

/// Something on a page.
struct Mark {
    x: f32,
    y: f32,
    /// From 0, black, to 255, white.
    shade: u8,
    what: What,
}

enum What {
    Text {
        text: String,
        size: f32,
    },
    /// A line across the page.
    Rule,
}

/// Pages as they fill.
struct Layout {
    face: ttf_parser::Face<'static>,
    pages: Vec<Vec<Mark>>,
    y: f32,
}

impl Layout {
    fn new() -> Result<Self, Error> {
        let face = ttf_parser::Face::parse(FONT, 0).map_err(Error::internal)?;
        Ok(Self { face, pages: vec![Vec::new()], y: TOP })
    }

    fn invoice(mut self, invoice: &Invoice, seller: &[String]) -> Vec<Vec<Mark>> {
        self.head(invoice, seller);
        let currency = invoice.total.as_ref().map_or("", |total| total.unit.as_str());
        self.column_titles(currency);
        for line in &invoice.lines {
            self.line(line, currency);
        }
        self.totals(invoice);
        self.feet(&invoice.number);
        self.pages
    }

    /// Who writes to whom, about what.
    fn head(&mut self, invoice: &Invoice, seller: &[String]) {
        self.text(LEFT, 22.0, 0, "Invoice");
        let top = self.y;
        for (position, line) in seller.iter().take(6).enumerate() {
            let text = self.fitted(line, 200.0, 9.0);
            self.right(RIGHT, 9.0, if position == 0 { 0 } else { 90 }, &text);
            self.y += 13.0;
        }
        self.y = (top + 40.0).max(self.y + 20.0);
        let top = self.y;
        for line in invoice.address.as_ref().map(address).unwrap_or_default() {
            let text = self.fitted(&line, 240.0, 10.0);
            self.text(LEFT, 10.0, 0, &text);
            self.y += 14.0;
        }
        let bottom = std::mem::replace(&mut self.y, top);
        let date = invoice.issue_time.as_ref().map(|time| Timestamp::from_proto(time).to_string()).unwrap_or_default();
        let date = date.split('T').next().unwrap_or_default().to_owned();
        let facts = [
            ("Number", invoice.number.as_str()),
            ("Date", &date),
            ("Order", &invoice.order_id),
            ("Shipment", &invoice.shipment_id),
        ];
        for (name, value) in facts {
            let value = self.fitted(value, 185.0, 9.0);
            self.text(312.0, 9.0, 90, name);
            self.right(RIGHT, 9.0, 0, &value);
            self.y += 14.0;
        }
        self.y = self.y.max(bottom) + 30.0;
    }

    fn column_titles(&mut self, currency: &str) {
        self.text(LEFT, 7.5, 90, "What");
        for (x, title) in COLUMNS.into_iter().zip(["Pieces", "Price", "Discount", "Net", "Rate", "Tax"]) {
            self.right(x, 7.5, 90, title);
        }
        self.y += 6.0;
        self.rule();
        self.y += 12.0;
        if currency.is_empty() {
            return;
        }
        let text = self.fitted(&format!("Amounts in {currency}"), TITLE_WIDTH, 7.5);
        self.text(LEFT, 7.5, 90, &text);
        self.y += 14.0;
    }

    fn line(&mut self, line: &InvoiceLine, currency: &str) {
        let titles = self.wrapped(&line.title, TITLE_WIDTH, 8.5);
        let sku = self.fitted(&line.sku, TITLE_WIDTH, 7.0);
        let height = 11.0 * titles.len() as f32 + if sku.is_empty() { 5.0 } else { 15.0 };
        if self.y + height > BOTTOM {
            self.turn(currency);
        }
        let (top, value) =
            (self.y, |amount: &Option<Amount>| amount.as_ref().map_or("", |amount| &amount.value).to_owned());
        let cells = [
            line.quantity.to_string(),
            value(&line.unit_price),
            value(&line.discount),
            value(&line.net),
            percent(line.tax_bps),
            value(&line.tax),
        ];
        let mut left = LEFT + TITLE_WIDTH;
        for (x, text) in COLUMNS.into_iter().zip(cells) {
            // A number is never cut: it is written smaller instead.
            let size = (8.5_f32).min(8.5 * (x - left - 3.0) / self.width(&text, 8.5).max(1.0));
            self.right(x, size, 0, &text);
            left = x;
        }
        for title in titles {
            self.text(LEFT, 8.5, 0, &title);
            self.y += 11.0;
        }
        self.text(LEFT, 7.0, 120, &sku);
        self.y = top + height;
    }

    fn totals(&mut self, invoice: &Invoice) {
        let shown = |amount: &Option<Amount>| {
            amount.as_ref().map(|amount| format!("{} {}", amount.value, amount.unit)).unwrap_or_default()
        };
        let mut rows = vec![("Net".to_owned(), shown(&invoice.net), 9.0)];
        for tax in &invoice.taxes {
            rows.push((format!("{} on {}", tax.title, shown(&tax.base)), shown(&tax.amount), 9.0));
        }
        rows.push(("Total".to_owned(), shown(&invoice.total), 12.0));
        if self.y + 18.0 * rows.len() as f32 + 12.0 > BOTTOM {
            self.turn("");
        }
        self.rule();
        for (name, value, size) in rows {
            self.y += 18.0;
            let name = self.fitted(&name, 330.0, size);
            self.text(LEFT + 40.0, size, 0, &name);
            self.right(RIGHT, size, 0, &value);
        }
    }

    /// Goes on at the top of a new page.
    fn turn(&mut self, currency: &str) {
        self.pages.push(Vec::new());
        self.y = TOP;
        self.column_titles(currency);
    }

    /// Says on each page which one it is.
    fn feet(&mut self, number: &str) {
        let (count, number) = (self.pages.len(), self.fitted(number, 200.0, 8.0));
        for page in 0..count {
            let text = format!("{number}: page {} of {count}", page + 1);
            let x = (PAGE.0 - self.width(&text, 8.0)) / 2.0;
            self.pages[page].push(Mark { x, y: BOTTOM + 30.0, shade: 90, what: What::Text { text, size: 8.0 } });
        }
    }

    fn mark(&mut self, x: f32, shade: u8, what: What) {
        let y = self.y;
        if let Some(page) = self.pages.last_mut() {
            page.push(Mark { x, y, shade, what });
        }
    }

    fn rule(&mut self) {
        self.mark(LEFT, 160, What::Rule);
    }

    fn text(&mut self, x: f32, size: f32, shade: u8, text: &str) {
        if !text.is_empty() {
            self.mark(x, shade, What::Text { text: text.to_owned(), size });
        }
    }

    /// A text that ends at `x`.
    fn right(&mut self, x: f32, size: f32, shade: u8, text: &str) {
        self.text(x - self.width(text, size), size, shade, text);
    }

    /// How wide a text is, letter by letter.
    fn width(&self, text: &str, size: f32) -> f32 {
        let advance = |letter: char| {
            let glyph = self.face.glyph_index(letter).unwrap_or_default();
            f32::from(self.face.glyph_hor_advance(glyph).unwrap_or_default())
        };
        text.chars().map(advance).sum::<f32>() * size / f32::from(self.face.units_per_em().max(1))
    }

    /// A text without what would disturb a page, cut where it is too wide.
    fn fitted(&self, text: &str, width: f32, size: f32) -> String {
        self.cut(&clean(text), width, size)
    }

    fn cut(&self, text: &str, width: f32, size: f32) -> String {
        if self.width(text, size) <= width {
            return text.to_owned();
        }
        let mut cut = String::new();
        for letter in text.chars() {
            cut.push(letter);
            if self.width(&cut, size) + self.width("…", size) > width {
                cut.pop();
                break;
            }
        }
        cut + "…"
    }

    /// A text in lines, broken between words where that can be; the last line is cut.
    fn wrapped(&self, text: &str, width: f32, size: f32) -> Vec<String> {
        let mut lines = vec![String::new()];
        for word in clean(text).split(' ') {
            let last = lines.len() - 1;
            let joined = if lines[last].is_empty() { word.to_owned() } else { format!("{} {word}", lines[last]) };
            if lines[last].is_empty() || lines.len() == TITLE_LINES || self.width(&joined, size) <= width {
                lines[last] = joined;
            } else {
                lines.push(word.to_owned());
            }
        }
        lines.iter().map(|line| self.cut(line, width, size)).collect()
    }
}

/// To whom it was sent, a line each.
fn address(address: &PostalAddress) -> Vec<String> {
    let mut lines = vec![address.recipient.clone()];
    lines.extend(address.lines.iter().take(4).cloned());
    lines.push(format!("{} {}", address.postal_code, address.city));
    lines.push(address.country_code.clone());
    lines
}

/// A text in one line, without controls and without marks that turn its direction.
fn clean(text: &str) -> String {
    let turns = |letter: char| matches!(letter, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
    let shown = text.chars().take(TEXT_MAX).filter(|letter| !turns(*letter));
    let spaced: String = shown.map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
    spaced.split_whitespace().collect::<Vec<_>>().join(" ")
}
