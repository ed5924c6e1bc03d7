-- The codes of promotions, each until the promotion that has it ends: no two that have not ended share one.
CREATE TABLE promotion_codes (
    code     TEXT   NOT NULL PRIMARY KEY,
    end_time BIGINT
);

INSERT INTO promotion_codes (code, end_time)
SELECT code, CASE WHEN COUNT(end_time) < COUNT(*) THEN NULL ELSE MAX(end_time) END
FROM promotions WHERE code IS NOT NULL GROUP BY code;
