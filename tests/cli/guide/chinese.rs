//! What is translated has the blocks of code of the English text, which other tests run.

use super::Page;

#[test]
fn translations_have_the_same_code() {
    for (english, chinese) in [
        (Page::open("README.md"), Page::open("README.zh-CN.md")),
        (Page::open("one_put.md"), Page::open("one_put_zh_cn.md")),
    ] {
        let (english, chinese) = (english.rest(), chinese.rest());
        assert_eq!(english.len(), chinese.len());
        for (english, chinese) in english.iter().zip(&chinese) {
            // A diagram with words in it.
            let is_translated = chinese.1.contains("连接");
            assert!(english == chinese || is_translated, "{english:?}\n{chinese:?}");
        }
    }
}

/// rustdoc compiles the blocks of README.md, and not those of its translation.
#[test]
fn readme_has_the_same_rust() {
    let rust = |name: &str| -> Vec<String> {
        let text = std::fs::read_to_string(name).unwrap();
        let blocks = text.split("\n```rust").skip(1);
        blocks.map(|block| block.split("\n```").next().unwrap().to_owned()).collect()
    };
    assert_eq!(rust("README.md"), rust("README.zh-CN.md"));
}
