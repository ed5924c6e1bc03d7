//! Invoices as PDF, read back by a program that did not write them.

use contracts::{
    order::v1::{Invoice, InvoiceLine},
    r#type::v1::Tax,
};
use lopdf::Document;

use super::*;
use crate::pdf;

fn invoice(lines: usize) -> Invoice {
    let line = |number: usize| InvoiceLine {
        title: format!("Enamel mug number {number}"),
        sku: format!("MUG-{number}"),
        quantity: 3,
        unit_price: amount("10.00", "EUR"),
        discount: amount("1.00", "EUR"),
        net: amount("29.00", "EUR"),
        tax_bps: 1_950,
        tax: amount("5.66", "EUR"),
    };
    Invoice {
        id: "inv_1".to_owned(),
        number: "2026-000042".to_owned(),
        order_id: "ord_01h455vb4pex5vsknk084sn02q".to_owned(),
        shipment_id: "shp_01h455vb4pex5vsknk084sn02q".to_owned(),
        owner_id: "usr_1".to_owned(),
        lines: (1..=lines).map(line).collect(),
        net: amount("2900.00", "EUR"),
        taxes: vec![Tax {
            title: "VAT 19.5 %".to_owned(),
            rate_bps: 1_950,
            base: amount("2900.00", "EUR"),
            amount: amount("565.50", "EUR"),
        }],
        total: amount("3465.50", "EUR"),
        address: Some(PostalAddress {
            recipient: "Łukasz Ångström".to_owned(),
            postal_code: "1234 AB".to_owned(),
            ..address()
        }),
        issue_time: Some(Timestamp::from_seconds(1_800_000_000).to_proto()),
    }
}

fn seller() -> Vec<String> {
    vec!["The Shop".to_owned(), "Market Square 1".to_owned()]
}

/// The text of each page, without its white space.
fn read(pdf: &[u8]) -> Vec<String> {
    let document = Document::load_mem(pdf).unwrap();
    let pages = document.get_pages();
    let text = |page: &u32| document.extract_text(&[*page]).unwrap().split_whitespace().collect::<String>();
    pages.keys().map(text).collect()
}

#[test]
fn everything_that_an_invoice_says_can_be_read_from_its_pdf() {
    install();
    let [page] = read(&pdf::draw(&invoice(2), &seller()).unwrap()).try_into().unwrap();
    for words in [
        "Invoice",
        "The Shop",
        "Market Square 1",
        "Łukasz Ångström",
        "Kerkstraat 1",
        "1234 AB Utrecht",
        "2026-000042",
        "2027-01-15",
        "ord_01h455vb4pex5vsknk084sn02q",
        "Enamel mug number 2",
        "MUG-2",
        "29.00",
        "19.5 %",
        "VAT 19.5 % on 2900.00 EUR",
        "565.50 EUR",
        "3465.50 EUR",
        "page 1 of 1",
    ] {
        let words: String = words.split_whitespace().collect();
        assert!(page.contains(&words), "{words} is not in {page}");
    }
}

#[test]
fn a_hundred_lines_take_several_pages_each_with_its_number() {
    install();
    let pages = read(&pdf::draw(&invoice(100), &seller()).unwrap());
    assert!((4..=8).contains(&pages.len()), "{} pages", pages.len());
    for (number, page) in (1..).zip(&pages) {
        assert!(page.contains(&format!("page{number}of{}", pages.len())), "{page}");
        assert!(page.contains("Discount"), "each page has titles: {page}");
    }
    for number in 1..=100 {
        let line = format!("Enamelmugnumber{number}MUG-{number}");
        assert_eq!(pages.iter().filter(|page| page.contains(&line)).count(), 1, "{line}");
    }
    assert!(pages.last().unwrap().contains("3465.50EUR"));
}

#[test]
fn hostile_text_breaks_no_page() {
    install();
    let texts = [
        "\u{0}\u{1}\u{7f}\n\r\t",
        ") Tj ET Q /Evil 1 Tf <</Type/Catalog>> endstream endobj",
        "\u{202e}txet desrever\u{2066}",
        "مرحبا بالعالم and שלום and 你好 and 😀👩‍👩‍👧",
        "\u{e000}\u{10ffff}\u{fffd}\u{300}\u{301}",
        &"W".repeat(5_000),
        &"word ".repeat(2_000),
        "",
    ];
    for text in texts {
        let mut hostile = invoice(3);
        for line in &mut hostile.lines {
            (line.title, line.sku) = (text.to_owned(), text.to_owned());
            line.net = amount(&"9".repeat(28), "EUR");
        }
        hostile.taxes[0].title = text.to_owned();
        (hostile.number, hostile.order_id) = (text.to_owned(), text.to_owned());
        let address = PostalAddress { recipient: text.to_owned(), lines: vec![text.to_owned(); 50], ..address() };
        hostile.address = Some(address);
        let pages = read(&pdf::draw(&hostile, &vec![text.to_owned(); 50]).unwrap());
        assert!(pages.len() == 1 && pages[0].contains("3465.50EUR"), "{text:.40}");
        assert!(pages[0].contains(&"9".repeat(28)), "a number is never cut");
    }
    let empty = pdf::draw(&Invoice::default(), &[]).unwrap();
    assert!(read(&empty)[0].contains("Invoice"));
}
